//! examples/orders-axum
fn main() {}
