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

/// The columns of [`crate::MESSAGE_COLUMNS`], as far as a table has them, with the alias `m`. `shard` is an expression of
/// the row's shard; where it has a parameter, that is the only one in here.
pub(crate) fn message_columns(dialect: Dialect, table: Table, shard: &str) -> String {
    let number = |expression: &str| as_number(dialect, expression);
    let none = number("NULL");
    let due_in = match table {
        Table::Deferred | Table::DeadLetters => none.clone(),
        _ => format!(
            "CASE WHEN m.available_at > {} THEN {} END",
            dialect.now(),
            dialect.us_until("m.available_at")
        ),
    };
    let mut columns = vec![
        "m.seq".to_owned(),
        number(shard),
        "m.id, m.topic, m.ordering_key, m.event_type".to_owned(),
        number("m.schema_version"),
        "m.aggregate_type, m.aggregate_id, m.correlation_id, m.content_type".to_owned(),
        if dialect == Dialect::Postgres { "m.headers::text" } else { "m.headers" }.to_owned(),
        "m.payload".to_owned(),
        dialect.epoch_us("m.created_at"),
        dialect.epoch_us("m.available_at"),
        due_in,
        number("m.max_attempts"),
    ];
    match table {
        Table::Deferred => {
            let held = number("CASE WHEN m.held_behind IS NULL THEN 0 ELSE 1 END");
            let due_at = dialect.epoch_us("m.due_at");
            columns.extend(["m.number".to_owned(), number("1"), number("m.attempts"), held, due_at]);
        }
        Table::DeadLetters => {
            columns.extend(["m.number".to_owned(), number("2"), number("m.attempts"), number("0"), none]);
        }
        _ => {}
    }
    columns.join(", ")
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
        for (table, lane) in
            [(Table::Messages, None), (Table::Deferred, Some("1")), (Table::DeadLetters, Some("2"))]
        {
            for dialect in [Dialect::Postgres, Dialect::MySql, Dialect::Sqlite] {
                let columns = message_columns(dialect, table, "shard_of_row");
                let set_aside = lane.map(|lane| format!("m.number, {}", as_number(dialect, lane)));
                assert_eq!(columns.contains("m.number"), set_aside.is_some(), "{columns}");
                assert!(set_aside.is_none_or(|words| columns.contains(&words)), "{columns}");
                assert_eq!(columns.matches("shard_of_row").count(), 1);
            }
        }
    }
}
