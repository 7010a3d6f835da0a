use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use outbox_core::OutboxMessage;

use crate::{Dialect, Statement, Table, TableNames, Value};

/// The columns a writer fills, and what their parameters are in PostgreSQL. `created_at` is not among them: it is always
/// the database's own time.
const COLUMNS: [(&str, &str); 13] = [
    ("id", "uuid"),
    ("topic", "text"),
    ("ordering_key", "text"),
    ("event_type", "text"),
    ("schema_version", "int8"),
    ("aggregate_type", "text"),
    ("aggregate_id", "text"),
    ("correlation_id", "text"),
    ("content_type", "text"),
    ("headers", "text"),
    ("payload", "bytea"),
    ("available_at", "int8"),
    ("max_attempts", "int8"),
];

/// Messages in one statement at most, in bytes. Below every server's default limit of a packet, and large enough that
/// splitting costs nothing.
const BYTES: usize = 4 * 1024 * 1024;

/// Rows in one statement at most, where each row has parameters of its own. With powers of two there are few texts, which
/// stay prepared, instead of one for each number of rows: preparing one costs a round trip, and giving it up again may
/// hold up the next statement.
const MOST_ROWS: usize = 1 << (TEXTS - 1);
const TEXTS: usize = 9;

/// Turns messages into `INSERT`s: of one row each, or of many.
#[derive(Debug, Clone)]
pub struct InsertStatements {
    dialect: Dialect,
    /// PostgreSQL: the text for one row, and that for any number of rows. The others: the texts for 1, 2, 4, 8 … rows.
    texts: Arc<[Arc<str>]>,
}

impl InsertStatements {
    /// The texts for these tables.
    #[must_use]
    pub fn new(dialect: Dialect, names: &TableNames) -> Self {
        let table = names.table(dialect, Table::Messages);
        let head = format!("INSERT INTO {table} ({})", names_of_columns());
        let rows = |count| format!("{head} VALUES {}", vec![tuple(dialect); count].join(", ")).into();
        let texts = match dialect {
            Dialect::Postgres => vec![rows(1), format!("{head} {}", select_from_arrays()).into()],
            Dialect::MySql | Dialect::Sqlite => (0..TEXTS).map(|power| rows(1 << power)).collect(),
        };
        Self { dialect, texts: texts.into() }
    }

    /// The statements that insert these messages in their order: as few as one statement's limits allow.
    ///
    /// Run them in this order, in the caller's transaction.
    #[must_use]
    pub fn for_messages<'m>(&self, messages: &'m [OutboxMessage]) -> Vec<Statement<'m>> {
        self.split(messages).map(|part| self.statement(part)).collect()
    }

    fn split<'m>(&self, mut rest: &'m [OutboxMessage]) -> impl Iterator<Item = &'m [OutboxMessage]> {
        // An array is one parameter, however long it is.
        let arrays = self.dialect == Dialect::Postgres;
        let rows = if arrays { usize::MAX } else { MOST_ROWS };
        std::iter::from_fn(move || {
            let mut bytes = 0;
            let fits = |message: &&OutboxMessage| {
                bytes += message.size();
                bytes <= BYTES
            };
            // A message that is larger than a part goes alone.
            let count = rest.iter().take(rows).take_while(fits).count().max(1);
            let count = if arrays { count } else { 1 << count.ilog2() };
            let (part, after) = rest.split_at(count.min(rest.len()));
            rest = after;
            (!part.is_empty()).then_some(part)
        })
    }

    fn statement<'m>(&self, messages: &'m [OutboxMessage]) -> Statement<'m> {
        match (messages, self.dialect) {
            ([message], _) => Statement::new(&self.texts[0], values(message, self.dialect)),
            (_, Dialect::Postgres) => Statement::new(&self.texts[1], arrays(messages)),
            (_, Dialect::MySql | Dialect::Sqlite) => {
                let values = messages.iter().flat_map(|message| values(message, self.dialect)).collect();
                Statement::new(&self.texts[messages.len().ilog2() as usize], values)
            }
        }
    }
}

/// The parameters of one row.
fn tuple(dialect: Dialect) -> String {
    let parameters = COLUMNS.iter().enumerate().map(|(i, (column, of))| match dialect {
        // Its conversion has the cast.
        Dialect::Postgres if *column == "available_at" => expression(dialect, column, &format!("${}", i + 1)),
        Dialect::Postgres => expression(dialect, column, &format!("${}::{of}", i + 1)),
        Dialect::MySql | Dialect::Sqlite => expression(dialect, column, "?"),
    });
    format!("({})", parameters.collect::<Vec<_>>().join(", "))
}

/// `UNNEST` gives its rows in the order of the arrays, and `seq` is drawn for them in that order.
fn select_from_arrays() -> String {
    let columns = COLUMNS.map(|(column, _)| expression(Dialect::Postgres, column, &format!("m.{column}")));
    let mut number = 0;
    let arrays = COLUMNS.map(|(_, of)| {
        number += 1;
        format!("${number}::{of}[]")
    });
    let (columns, arrays) = (columns.join(", "), arrays.join(", "));
    format!("SELECT {columns} FROM UNNEST({arrays}) AS m({})", names_of_columns())
}

fn names_of_columns() -> String {
    COLUMNS.map(|(column, _)| column).join(", ")
}

/// What a column is set to, from what a driver can bind.
fn expression(dialect: Dialect, column: &str, bound: &str) -> String {
    match (column, dialect) {
        ("available_at", _) => dialect.from_epoch_us(bound),
        ("headers", Dialect::Postgres) => format!("{bound}::json"),
        _ => bound.to_owned(),
    }
}

fn values(message: &OutboxMessage, dialect: Dialect) -> Vec<Value<'_>> {
    vec![
        match dialect {
            Dialect::Postgres => Value::Uuid(Some(*message.id().as_uuid())),
            Dialect::MySql | Dialect::Sqlite => Value::Bytes(Some(Cow::Borrowed(message.id().as_bytes()))),
        },
        message.topic().as_str().into(),
        Value::Text(ordering_key(message)),
        Value::Text(event_type(message)),
        i64::from(message.schema_version()).into(),
        Value::Text(message.aggregate_type().map(Cow::Borrowed)),
        Value::Text(message.aggregate_id().map(Cow::Borrowed)),
        Value::Text(message.correlation_id().map(Cow::Borrowed)),
        message.content_type().into(),
        Value::Text(Some(headers(message))),
        Value::Bytes(Some(Cow::Borrowed(&message.payload()[..]))),
        Value::I64(available_at(message)),
        Value::I64(message.max_attempts().map(i64::from)),
    ]
}

fn arrays<'m>(messages: &'m [OutboxMessage]) -> Vec<Value<'m>> {
    let texts = |of: fn(&'m OutboxMessage) -> Option<Cow<'m, str>>| {
        Value::TextArray(messages.iter().map(of).collect())
    };
    let numbers = |of: fn(&OutboxMessage) -> Option<i64>| Value::I64Array(messages.iter().map(of).collect());
    vec![
        Value::UuidArray(messages.iter().map(|m| Some(*m.id().as_uuid())).collect()),
        texts(|m| Some(Cow::Borrowed(m.topic().as_str()))),
        texts(ordering_key),
        texts(event_type),
        numbers(|m| Some(m.schema_version().into())),
        texts(|m| m.aggregate_type().map(Cow::Borrowed)),
        texts(|m| m.aggregate_id().map(Cow::Borrowed)),
        texts(|m| m.correlation_id().map(Cow::Borrowed)),
        texts(|m| Some(Cow::Borrowed(m.content_type()))),
        texts(|m| Some(headers(m))),
        Value::BytesArray(messages.iter().map(|m| Cow::Borrowed(&m.payload()[..])).collect()),
        numbers(available_at),
        numbers(|m| m.max_attempts().map(i64::from)),
    ]
}

fn ordering_key(message: &OutboxMessage) -> Option<Cow<'_, str>> {
    message.ordering_key().map(|key| Cow::Borrowed(key.as_str()))
}

/// Null stands for the topic.
fn event_type(message: &OutboxMessage) -> Option<Cow<'_, str>> {
    Some(message.event_type()).filter(|name| *name != message.topic().as_str()).map(Cow::Borrowed)
}

fn headers(message: &OutboxMessage) -> Cow<'_, str> {
    if message.headers().is_empty() { Cow::Borrowed("{}") } else { Cow::Owned(message.headers().to_json()) }
}

/// In microseconds since 1970, within the years that every database's types have.
fn available_at(message: &OutboxMessage) -> Option<i64> {
    const YEAR_9999: u64 = 253_370_764_800_000_000;
    let since_1970 = message.available_at()?.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let microseconds = u64::try_from(since_1970.as_micros()).unwrap_or(YEAR_9999).min(YEAR_9999);
    i64::try_from(microseconds).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn message(payload: usize) -> OutboxMessage {
        OutboxMessage::bytes("orders.placed", vec![b'x'; payload]).unwrap().ordering_key("k").build().unwrap()
    }

    fn statements(dialect: Dialect) -> InsertStatements {
        InsertStatements::new(dialect, &TableNames::default())
    }

    #[test]
    fn one_row_is_one_reusable_text() {
        for dialect in [Dialect::Postgres, Dialect::MySql, Dialect::Sqlite] {
            let inserts = statements(dialect);
            let (a, b) = ([message(1)], [message(2)]);
            let (a, b) = (inserts.for_messages(&a), inserts.for_messages(&b));
            assert!(a.len() == 1 && a[0].reuse, "{dialect:?}");
            assert!(Arc::ptr_eq(&a[0].sql, &b[0].sql), "{dialect:?}");
            assert_eq!(a[0].values.len(), COLUMNS.len());
        }
    }

    #[test]
    fn nothing_to_insert_is_no_statement() {
        assert!(statements(Dialect::MySql).for_messages(&[]).is_empty());
    }

    #[test]
    fn many_rows_are_arrays_in_postgres_and_powers_of_two_elsewhere() {
        let messages = vec![message(1); 1_003];
        let arrays = statements(Dialect::Postgres).for_messages(&messages);
        assert!(arrays.len() == 1 && arrays[0].reuse && arrays[0].values.len() == COLUMNS.len());
        for dialect in [Dialect::MySql, Dialect::Sqlite] {
            let inserts = statements(dialect);
            let tuples = inserts.for_messages(&messages);
            let rows: Vec<_> = tuples.iter().map(|part| part.values.len() / COLUMNS.len()).collect();
            assert_eq!(rows, [256, 256, 256, 128, 64, 32, 8, 2, 1], "{dialect:?}");
            for part in &tuples {
                assert!(part.reuse && part.sql.matches('?').count() == part.values.len(), "{dialect:?}");
            }
            assert!(Arc::ptr_eq(&tuples[0].sql, &tuples[1].sql), "{dialect:?}");
        }
    }

    #[test]
    fn a_statement_keeps_to_the_limit_of_parameters() {
        // SQLite has the lower one.
        assert!(MOST_ROWS * COLUMNS.len() <= 32_766);
    }

    #[test]
    fn a_statement_keeps_to_the_limit_of_bytes() {
        let messages = vec![message(1_000_000); 9];
        let parts = statements(Dialect::Postgres).for_messages(&messages);
        let rows: Vec<_> = parts.iter().map(|part| rows(part)).collect();
        assert_eq!(rows, [4, 4, 1]);
    }

    #[test]
    fn a_message_over_the_limit_of_bytes_goes_alone() {
        let limits = outbox_core::Limits::default().with_payload(8_000_000);
        let large = OutboxMessage::bytes("t", vec![0; 5_000_000]).unwrap().build_within(&limits).unwrap();
        let messages = [message(1), large, message(1), message(1)];
        let parts = statements(Dialect::Postgres).for_messages(&messages);
        assert_eq!(parts.iter().map(rows).collect::<Vec<_>>(), [1, 1, 2]);
    }

    fn rows(statement: &Statement<'_>) -> usize {
        match &statement.values[0] {
            Value::UuidArray(ids) => ids.len(),
            _ => 1,
        }
    }

    #[test]
    fn a_time_is_bound_as_microseconds() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_micros(1_753_000_000_123_457);
        let timed = OutboxMessage::bytes("t", "x").unwrap().available_at(at).build().unwrap();
        assert_eq!(available_at(&timed), Some(1_753_000_000_123_457));
        assert_eq!(available_at(&message(1)), None);
    }

    #[test]
    fn the_texts_are_these() {
        let names = TableNames::new(Some("app"), "b_").unwrap();
        let postgres = InsertStatements::new(Dialect::Postgres, &names);
        assert!(
            postgres.texts[0].starts_with(r#"INSERT INTO "app"."b_outbox_messages" (id, topic, "#),
            "{}",
            postgres.texts[0]
        );
        assert!(postgres.texts[0].contains(
            "$10::text::json, $11::bytea, timestamptz 'epoch' + $12::int8 * interval '1 microsecond'"
        ));
        assert!(
            postgres.texts[1].contains("m.headers::json")
                && postgres.texts[1].contains("$13::int8[]) AS m(id, topic, ")
        );
    }
}
