use std::borrow::Cow;
use std::fmt::Write as _;

use outbox_core::MessageId;

use crate::plan::{Bury, Defer};
use crate::vocabulary::microseconds;
use crate::{Dialect, Value};

/// What a broker said is cut off here: it is for people, and thousands of rows with it must fit in one packet.
const LONGEST_ERROR: usize = 2_000;

/// The id in the column `behind` of a list.
///
/// JSON has no bytes. In MySQL it is hexadecimal; SQLite, which has no `unhex` before 3.41, finds it at its place in one
/// blob of all ids.
pub(crate) fn id(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => "l.behind",
        Dialect::MySql => "UNHEX(l.behind)",
        Dialect::Sqlite => "substr(l.ids, l.behind, 16)",
    }
}

/// Rows that wait as a table `l(n, attempts, after_us, error, behind)`; its parameters are [`defer_values`].
pub(crate) fn defer_list(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => {
            "unnest(?::int8[], ?::int8[], ?::int8[], ?::text[], ?::uuid[]) \
             AS l(n, attempts, after_us, error, behind)"
        }
        Dialect::MySql => {
            "json_table(?, '$[*]' COLUMNS (n BIGINT PATH '$[0]', attempts INT PATH '$[1]', \
             after_us BIGINT PATH '$[2]', error TEXT CHARACTER SET utf8mb4 PATH '$[3]', \
             behind CHAR(32) CHARACTER SET ascii PATH '$[4]')) AS l"
        }
        Dialect::Sqlite => {
            "(SELECT json_extract(value, '$[0]') AS n, json_extract(value, '$[1]') AS attempts, \
             json_extract(value, '$[2]') AS after_us, json_extract(value, '$[3]') AS error, \
             json_extract(value, '$[4]') AS behind, ? AS ids FROM json_each(?)) AS l"
        }
    }
}

/// Rows that die as a table `l(n, attempts, reason, error, behind)`; its parameters are [`bury_values`].
pub(crate) fn bury_list(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => {
            "unnest(?::int8[], ?::int8[], ?::text[], ?::text[], ?::uuid[]) \
             AS l(n, attempts, reason, error, behind)"
        }
        Dialect::MySql => {
            "json_table(?, '$[*]' COLUMNS (n BIGINT PATH '$[0]', attempts INT PATH '$[1]', \
             reason VARCHAR(255) CHARACTER SET utf8mb4 PATH '$[2]', error TEXT CHARACTER SET utf8mb4 PATH '$[3]', \
             behind CHAR(32) CHARACTER SET ascii PATH '$[4]')) AS l"
        }
        Dialect::Sqlite => {
            "(SELECT json_extract(value, '$[0]') AS n, json_extract(value, '$[1]') AS attempts, \
             json_extract(value, '$[2]') AS reason, json_extract(value, '$[3]') AS error, \
             json_extract(value, '$[4]') AS behind, ? AS ids FROM json_each(?)) AS l"
        }
    }
}

pub(crate) fn defer_values<'a>(dialect: Dialect, rows: &[Defer<'a>]) -> Vec<Value<'a>> {
    let after = |row: &Defer<'_>| row.after.map(microseconds);
    let attempts = |row: &Defer<'_>| row.attempts.map(i64::from);
    if dialect == Dialect::Postgres {
        return vec![
            Value::I64Array(rows.iter().map(|row| Some(row.number)).collect()),
            Value::I64Array(rows.iter().map(attempts).collect()),
            Value::I64Array(rows.iter().map(after).collect()),
            Value::TextArray(rows.iter().map(|row| row.error.map(shortened)).collect()),
            Value::UuidArray(rows.iter().map(|row| row.behind.map(|id| *id.as_uuid())).collect()),
        ];
    }
    let mut list = List::new(dialect);
    for row in rows {
        let fields = [Field::Number(attempts(row)), Field::Number(after(row)), Field::Text(row.error)];
        list.push(row.number, &fields, row.behind);
    }
    list.into_values()
}

pub(crate) fn bury_values<'a>(dialect: Dialect, rows: &[Bury<'a>]) -> Vec<Value<'a>> {
    if dialect == Dialect::Postgres {
        return vec![
            Value::I64Array(rows.iter().map(|row| Some(row.number)).collect()),
            Value::I64Array(rows.iter().map(|row| Some(i64::from(row.attempts))).collect()),
            Value::TextArray(rows.iter().map(|row| Some(row.reason.into())).collect()),
            Value::TextArray(rows.iter().map(|row| row.error.map(shortened)).collect()),
            Value::UuidArray(rows.iter().map(|row| row.parked_behind.map(|id| *id.as_uuid())).collect()),
        ];
    }
    let mut list = List::new(dialect);
    for row in rows {
        let fields =
            [Field::Number(Some(row.attempts.into())), Field::Text(Some(row.reason)), Field::Text(row.error)];
        list.push(row.number, &fields, row.parked_behind);
    }
    list.into_values()
}

/// Rows as a JSON array of arrays: number, three fields, id.
struct List {
    dialect: Dialect,
    json: String,
    ids: Vec<u8>,
}

enum Field<'a> {
    Number(Option<i64>),
    Text(Option<&'a str>),
}

impl List {
    fn new(dialect: Dialect) -> Self {
        Self { dialect, json: "[".to_owned(), ids: Vec::new() }
    }

    fn push(&mut self, number: i64, fields: &[Field<'_>], id: Option<MessageId>) {
        if self.json.len() > 1 {
            self.json.push(',');
        }
        let _ = write!(self.json, "[{number}");
        for field in fields {
            let _ = match field {
                Field::Number(Some(number)) => write!(self.json, ",{number}"),
                Field::Text(Some(text)) => {
                    write!(self.json, ",{}", serde_json::Value::from(&*shortened(text)))
                }
                Field::Number(None) | Field::Text(None) => write!(self.json, ",null"),
            };
        }
        let _ = match id {
            Some(id) if self.dialect == Dialect::Sqlite => {
                // Counted from 1.
                let place = self.ids.len() + 1;
                self.ids.extend_from_slice(id.as_bytes());
                write!(self.json, ",{place}]")
            }
            Some(id) => write!(self.json, ",\"{}\"]", id.as_uuid().simple()),
            None => write!(self.json, ",null]"),
        };
    }

    fn into_values<'a>(mut self) -> Vec<Value<'a>> {
        self.json.push(']');
        let json = Value::from(self.json);
        match self.dialect {
            Dialect::Sqlite => vec![Value::Bytes(Some(Cow::Owned(self.ids))), json],
            Dialect::Postgres | Dialect::MySql => vec![json],
        }
    }
}

/// A text that any database takes: without NUL, and not too long.
fn shortened(text: &str) -> Cow<'_, str> {
    let end = text.floor_char_boundary(LONGEST_ERROR);
    let text = &text[..end];
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{FFFD}")) } else { Cow::Borrowed(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_cut_off_between_characters() {
        let long = "ä".repeat(LONGEST_ERROR);
        assert_eq!(shortened(&long).len(), LONGEST_ERROR);
        assert_eq!(shortened("a\0b"), "a\u{FFFD}b");
        assert_eq!(shortened(&format!("x{long}")).len(), LONGEST_ERROR - 1);
    }

    #[test]
    fn rows_are_json_with_ids_beside_it() {
        let behind = MessageId::from_uuid(uuid::Uuid::from_u128(0xAB));
        let waits = Defer { number: 1, attempts: None, after: None, error: None, behind: Some(behind) };
        let failed = Defer { number: 2, attempts: Some(3), error: Some("a\"b"), behind: None, ..waits };
        let values = defer_values(Dialect::Sqlite, &[waits, failed, waits]);
        let [Value::Bytes(Some(ids)), Value::Text(Some(json))] = &values[..] else {
            unreachable!("{values:?}")
        };
        assert_eq!(ids.len(), 32);
        assert_eq!(json, r#"[[1,null,null,null,1],[2,3,null,"a\"b",null],[1,null,null,null,17]]"#);
        let values = defer_values(Dialect::MySql, &[waits]);
        let [Value::Text(Some(json))] = &values[..] else { unreachable!("{values:?}") };
        assert_eq!(json, r#"[[1,null,null,null,"000000000000000000000000000000ab"]]"#);
    }
}
