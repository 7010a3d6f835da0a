//! The connector on the page `docs/debezium.md` reads columns that there are, and what it makes of a row is a message.

use std::borrow::Cow;

use outbox_conformance::{StoreFixture as _, run_case};
use outbox_core::{Envelope, EnvelopeNames, Incoming, OutboxMessage};
use serde_json::{Map, Value};
use sqlx::{AssertSqlSafe, Postgres, Row as _};

use crate::fixture::Fixture;
use crate::pages::{blocks, page};

/// The options of Debezium's outbox event router, 3.x.
const ROUTER: [&str; 12] = [
    "type",
    "table.op.invalid.behavior",
    "table.field.event.id",
    "table.field.event.key",
    "table.field.event.timestamp",
    "table.field.event.payload",
    "table.field.event.schema.version",
    "table.fields.additional.placement",
    "table.expand.json.payload",
    "route.by.field",
    "route.topic.regex",
    "route.topic.replacement",
];

fn config() -> Map<String, Value> {
    let json = blocks(&page("debezium.md"), &["json"]).remove(0);
    let mut connector: Value = serde_json::from_str(&json).unwrap();
    match connector["config"].take() {
        Value::Object(config) => config,
        other => panic!("{other}"),
    }
}

fn router(config: &Map<String, Value>, option: &str) -> String {
    config[&format!("transforms.outbox.{option}")].as_str().unwrap().to_owned()
}

/// Column and header of each additional field.
fn headers(config: &Map<String, Value>) -> Vec<(String, String)> {
    let placement = router(config, "table.fields.additional.placement");
    let field = |field: &str| {
        let parts: Vec<&str> = field.split(':').collect();
        assert_eq!((parts.len(), parts[1]), (3, "header"), "{field}");
        (parts[0].to_owned(), parts[2].to_owned())
    };
    placement.split(',').map(field).collect()
}

#[test]
fn every_option_of_the_router_is_known() {
    let config = config();
    let used: Vec<&str> = config.keys().filter_map(|key| key.strip_prefix("transforms.outbox.")).collect();
    assert!(used.len() > 5, "{used:?}");
    for option in used {
        assert!(ROUTER.contains(&option), "{option}");
    }
}

/// The row as the router reads it, and the record as our consumers read that.
#[test]
fn what_the_router_makes_of_a_row_is_the_message() {
    run_case::<Fixture<Postgres>, _, _>(|fixture| async move {
        let (config, full) = (config(), full());
        let plain = OutboxMessage::bytes("orders.placed", "x").unwrap().build().unwrap();
        fixture.enqueue(&[full.clone(), plain.clone()]).await;
        for message in [full, plain] {
            let read = record(&fixture, &config, &message).await;
            assert_eq!((read.id(), read.topic()), (message.id(), message.topic()));
            assert_eq!(read.ordering_key(), message.ordering_key());
            assert_eq!((read.payload(), read.content_type()), (message.payload(), message.content_type()));
            assert_eq!(read.event_type(), message.event_type());
            assert_eq!(read.schema_version(), message.schema_version());
            assert_eq!(read.aggregate_type(), message.aggregate_type());
            assert_eq!(read.aggregate_id(), message.aggregate_id());
            assert_eq!(read.correlation_id(), message.correlation_id());
            assert!(read.created_at().is_some(), "the inbox judges its age by it");
            assert!(read.headers().is_empty(), "the page says that they do not travel");
        }
    });
}

fn full() -> OutboxMessage {
    let message = OutboxMessage::json("orders.placed", &7).unwrap();
    let message = message.ordering_key("order-7").event_type("OrderPlaced").schema_version(3);
    message.aggregate("order", 7).correlation_id("c-1").header("tenant", "acme").build().unwrap()
}

async fn record(
    fixture: &Fixture<Postgres>,
    config: &Map<String, Value>,
    message: &OutboxMessage,
) -> OutboxMessage {
    let headers = headers(config);
    let column = |option: &str| router(config, option);
    let (topic, key) = (column("route.by.field"), column("table.field.event.key"));
    let payload = column("table.field.event.payload");
    // Debezium hands a time with a zone on as ISO 8601 in UTC, and everything else here as its text.
    let as_text = |column: &str| match column {
        "created_at" => {
            r#"to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"#.to_owned()
        }
        column => format!("{column}::text"),
    };
    let columns: Vec<String> = headers.iter().map(|(column, _)| as_text(column)).collect();
    let id = column("table.field.event.id");
    let sql = format!(
        "SELECT {topic}, {key}, {payload}, {} FROM outbox_messages WHERE {id} = $1",
        columns.join(", ")
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(*message.id().as_uuid());
    let row = query.fetch_one(&fixture.pool).await.unwrap();
    let (topic, key): (String, Option<String>) = (row.get(0), row.get(1));
    let mut incoming = Incoming::new(&topic, row.get::<Vec<u8>, _>(2).into());
    incoming.ordering_key = key.as_deref();
    for (position, (_, name)) in headers.iter().enumerate() {
        // A header without a value is none for a consumer of ours.
        if let Some(value) = row.get::<Option<String>, _>(position + 3) {
            incoming.headers.push((Cow::Owned(name.clone()), Cow::Owned(value)));
        }
    }
    Envelope::new(EnvelopeNames::UNDERSCORE).read(incoming).unwrap()
}
