//! The service as a process: orders by HTTP, events on its standard output, an end by SIGTERM.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test states what it expects")]

use customer::{Order, POSTGRES, Shop, visit};
use prost::Message;

#[test]
fn what_is_ordered_is_published_and_the_end_is_clean() {
    visit(&Shop {
        program: env!("CARGO_BIN_EXE_axum-seaorm"),
        server: POSTGRES,
        tables: "axum_seaorm.",
        content_type: "application/protobuf",
        decode: |payload| {
            let OrderPlaced { order, customer, total } = OrderPlaced::decode(payload).unwrap();
            Order { order, customer, total }
        },
    });
}

/// What a consumer makes of the schema, without the code of the service.
#[derive(Message)]
struct OrderPlaced {
    #[prost(int64, tag = "1")]
    order: i64,
    #[prost(string, tag = "2")]
    customer: String,
    #[prost(int64, tag = "3")]
    total: i64,
}
