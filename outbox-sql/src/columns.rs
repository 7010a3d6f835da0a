use crate::{Dialect, Table};

/// The columns that a row keeps whichever table it moves to.
pub(crate) const KEPT: [&str; 15] = [
    "seq",
    "id",
    "topic",
    "ordering_key",
    "event_type",
    "schema_version",
    "aggregate_type",
    "aggregate_id",
    "correlation_id",
    "content_type",
    "headers",
    "payload",
    "created_at",
    "available_at",
    "max_attempts",
];

/// The columns of [`crate::MESSAGE_COLUMNS`], read from one of the three tables of messages, with the alias `m`. `shard`
/// is an expression of the row's shard; where it has a parameter, that is the only one in here.
pub(crate) fn message_columns(dialect: Dialect, table: Table, shard: &str) -> String {
    let number = |expression: &str| as_number(dialect, expression);
    let none = number("NULL");
    let due_in = format!(
        "CASE WHEN m.available_at > {} THEN {} END",
        dialect.now(),
        dialect.us_until("m.available_at")
    );
    let held = number("CASE WHEN m.held_behind IS NULL THEN 0 ELSE 1 END");
    let due_at = dialect.epoch_us("m.due_at");
    let (row_number, lane, due_in, attempts, held, due_at) = match table {
        Table::Deferred => ("m.number", "1", none.clone(), "m.attempts", held, due_at),
        Table::DeadLetters => ("m.number", "2", none.clone(), "m.attempts", number("0"), none),
        _ => ("m.seq", "0", due_in, "0", number("0"), none),
    };
    [
        row_number,
        "m.seq",
        &number(lane),
        &number(shard),
        "m.id, m.topic, m.ordering_key, m.event_type",
        &number("m.schema_version"),
        "m.aggregate_type, m.aggregate_id, m.correlation_id, m.content_type",
        if dialect == Dialect::Postgres { "m.headers::text" } else { "m.headers" },
        "m.payload",
        &dialect.epoch_us("m.created_at"),
        &dialect.epoch_us("m.available_at"),
        &due_in,
        &number("m.max_attempts"),
        &number(attempts),
        &held,
        &due_at,
    ]
    .join(", ")
}

/// An expression as a 64-bit number.
pub(crate) fn as_number(dialect: Dialect, expression: &str) -> String {
    match dialect {
        Dialect::Postgres => format!("({expression})::int8"),
        Dialect::MySql => format!("CAST({expression} AS SIGNED)"),
        Dialect::Sqlite => format!("({expression})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_table_is_its_own_lane() {
        for (table, lane) in [(Table::Messages, "0"), (Table::Deferred, "1"), (Table::DeadLetters, "2")] {
            for dialect in [Dialect::Postgres, Dialect::MySql, Dialect::Sqlite] {
                let columns = message_columns(dialect, table, "shard_of_row");
                assert!(columns.contains(&format!("m.seq, {}", as_number(dialect, lane))), "{columns}");
                assert_eq!(columns.matches("shard_of_row").count(), 1);
            }
        }
    }
}
