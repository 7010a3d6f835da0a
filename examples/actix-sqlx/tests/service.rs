//! The service as a process: orders by HTTP, events on its standard output, an end by SIGTERM.

#![cfg(unix)]

use customer::{MARIADB, Shop, json, visit};

#[test]
fn what_is_ordered_is_published_and_the_end_is_clean() {
    visit(&Shop {
        program: env!("CARGO_BIN_EXE_actix-sqlx"),
        server: MARIADB,
        tables: "actix_sqlx_",
        content_type: "application/json",
        decode: json,
    });
}
