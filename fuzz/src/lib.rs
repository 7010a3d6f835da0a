//! The properties of `outbox/tests/properties`, for the fuzz targets.
#![forbid(unsafe_code)]

#[path = "../../outbox/tests/properties/config.rs"]
pub mod config;
#[path = "../../outbox/tests/properties/input.rs"]
pub mod input;
#[path = "../../outbox/tests/properties/messages.rs"]
pub mod messages;
#[path = "../../outbox/tests/properties/records.rs"]
pub mod records;
#[path = "../../outbox/tests/properties/secrets.rs"]
pub mod secrets;
#[path = "../../outbox/tests/properties/traces.rs"]
pub mod traces;
#[path = "../../outbox/tests/properties/urls.rs"]
pub mod urls;
