//! The service as a process: orders by HTTP, events on its standard output, an end by SIGTERM.

#![cfg(unix)]

use customer::{POSTGRES, Shop, json, visit};

#[test]
fn what_is_ordered_is_published_and_the_end_is_clean() {
    visit(&Shop {
        program: env!("CARGO_BIN_EXE_axum-diesel"),
        server: POSTGRES,
        tables: "axum_diesel.",
        content_type: "application/json",
        decode: json,
    });
}
