use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use outbox_core::MessageId;

use crate::plan::{Bury, Defer};
use crate::vocabulary::{Vocabulary, kept, microseconds};
use crate::{Dialect, Step, Value};

/// The texts that move rows to the deferred table and to the dead letters, each with values for every row of a list.
#[derive(Debug)]
pub(crate) struct Moves {
    dialect: Dialect,
    defer_fresh: Move,
    defer_deferred: Arc<str>,
    bury_fresh: Move,
    bury_deferred: Move,
}

/// A move: an insert, and the delete where it is not part of the same statement.
#[derive(Debug)]
pub(crate) struct Move {
    insert: Arc<str>,
    delete: Option<Arc<str>>,
}

/// What a broker said is cut off here: it is for people, and thousands of rows with it must fit in one packet.
const LONGEST_ERROR: usize = 2_000;

/// The columns of a deferred row that a message does not have.
const WAITS: &str = "due_at, attempts, last_attempt_at, last_error, held_behind";
/// The columns of a dead letter that a message does not have.
const DIED: &str = "reason, attempts, last_error, died_at, parked_behind";

impl Moves {
    pub(crate) fn new(words: &Vocabulary) -> Self {
        let (messages, deferred, dead) = (&words.messages, &words.deferred, &words.dead_letters);
        let (now, due) = (words.dialect.now(), due(words.dialect));
        let id = id(words.dialect);
        let waits = format!(
            "{due}, coalesce(l.attempts, 0), CASE WHEN l.attempts IS NOT NULL THEN {now} END, l.error, {id}"
        );
        let died = |error| format!("l.reason, l.attempts, {error}, {now}, {id}");
        Self {
            dialect: words.dialect,
            defer_fresh: Move::new(words, (messages, "seq", ""), (deferred, WAITS), &defer_list(words), &waits),
            defer_deferred: words.text(&wait_again(words)),
            bury_fresh: Move::new(words, (messages, "seq", ""), (dead, DIED), &bury_list(words), &died("l.error")),
            bury_deferred: Move::new(
                words,
                (deferred, "number", ", number, last_error"),
                (dead, DIED),
                &bury_list(words),
                &died("coalesce(l.error, m.last_error)"),
            ),
        }
    }

    pub(crate) fn defer_fresh<'a>(&self, words: &Vocabulary, rows: &[Defer<'a>]) -> Vec<Step<'a>> {
        self.defer_fresh.steps(words, defer_values(self.dialect, rows), &numbers_of(rows, |row| row.number))
    }

    pub(crate) fn defer_deferred<'a>(&self, words: &Vocabulary, rows: &[Defer<'a>]) -> Vec<Step<'a>> {
        let mut values = defer_values(self.dialect, rows);
        if self.dialect == Dialect::Postgres {
            values.push(words.numbers(&numbers_of(rows, |row| row.number)));
        }
        vec![Step::Write(words.planned_anew(&self.defer_deferred, values))]
    }

    pub(crate) fn bury_fresh<'a>(&self, words: &Vocabulary, rows: &[Bury<'a>]) -> Vec<Step<'a>> {
        self.bury_fresh.steps(words, bury_values(self.dialect, rows), &numbers_of(rows, |row| row.number))
    }

    pub(crate) fn bury_deferred<'a>(&self, words: &Vocabulary, rows: &[Bury<'a>]) -> Vec<Step<'a>> {
        self.bury_deferred.steps(words, bury_values(self.dialect, rows), &numbers_of(rows, |row| row.number))
    }
}

impl Move {
    /// From a table with its primary key and the columns wanted besides a message's, into another with the columns that
    /// the expressions `values` fill, for the rows of a list `l`.
    ///
    /// PostgreSQL inserts what the delete returns. The others insert first and delete then: the rows are locked by the
    /// insert's read, and nobody else may settle these shards meanwhile.
    fn new(
        words: &Vocabulary,
        (from, key, more): (&str, &str, &str),
        (into, columns): (&str, &str),
        list: &str,
        values: &str,
    ) -> Self {
        let (plain, all) = (kept(""), kept("m."));
        let insert = format!("INSERT INTO {into} ({plain}, {columns}) SELECT {all}, {values}");
        let insert = match words.dialect {
            Dialect::Postgres => format!(
                "WITH m AS (DELETE FROM {from} WHERE {key} = ANY (?::int8[]) RETURNING {plain}{more}) \
                 {insert} FROM m JOIN {list} ON l.n = m.{key} ORDER BY m.seq"
            ),
            Dialect::MySql => {
                format!("{insert} FROM {list} STRAIGHT_JOIN {from} m ON m.{key} = l.n FOR UPDATE")
            }
            Dialect::Sqlite => format!("{insert} FROM {list} CROSS JOIN {from} m ON m.{key} = l.n"),
        };
        let delete = (words.dialect != Dialect::Postgres).then(|| words.text(&delete(words, from, key)));
        Self { insert: words.text(&insert), delete }
    }

    fn steps<'a>(&self, words: &Vocabulary, mut values: Vec<Value<'a>>, numbers: &[i64]) -> Vec<Step<'a>> {
        let numbers = words.numbers(numbers);
        let Some(delete) = &self.delete else {
            values.insert(0, numbers);
            return vec![Step::Write(words.planned_anew(&self.insert, values))];
        };
        let insert = Step::Write(words.planned_anew(&self.insert, values));
        vec![insert, Step::Also(words.planned_anew(delete, vec![numbers]))]
    }
}

/// Deletes the rows of a list of numbers.
///
/// MySQL and MariaDB may plan a `DELETE … WHERE seq IN (…)` as a scan of the whole table, which then waits for every
/// producer; from the list to the table there is only one plan.
pub(crate) fn delete(words: &Vocabulary, table: &str, key: &str) -> String {
    match words.dialect {
        Dialect::Postgres => format!("DELETE FROM {table} WHERE {key} = ANY (?::int8[])"),
        Dialect::MySql => {
            format!("DELETE m FROM {} STRAIGHT_JOIN {table} m ON m.{key} = l.n", words.number_list())
        }
        Dialect::Sqlite => format!("DELETE FROM {table} WHERE {key} IN (SELECT value FROM json_each(?))"),
    }
}

/// Changes what deferred rows wait for.
fn wait_again(words: &Vocabulary) -> String {
    let (table, list, now) = (&words.deferred, defer_list(words), words.dialect.now());
    let (due, id) = (due(words.dialect), id(words.dialect));
    // PostgreSQL and SQLite name the columns to set without an alias.
    let m = if words.dialect == Dialect::MySql { "m." } else { "" };
    let set = format!(
        "SET {m}due_at = {due}, {m}attempts = coalesce(l.attempts, m.attempts), \
         {m}last_attempt_at = CASE WHEN l.attempts IS NULL THEN m.last_attempt_at ELSE {now} END, \
         {m}last_error = coalesce(l.error, m.last_error), {m}held_behind = {id}"
    );
    match words.dialect {
        Dialect::Postgres => format!(
            "UPDATE {table} AS m {set} FROM {list} WHERE m.number = l.n AND m.number = ANY (?::int8[])"
        ),
        Dialect::MySql => format!("UPDATE {list} STRAIGHT_JOIN {table} m ON m.number = l.n {set}"),
        Dialect::Sqlite => format!("UPDATE {table} AS m {set} FROM {list} WHERE m.number = l.n"),
    }
}

/// When a row of [`defer_list`] is due.
fn due(dialect: Dialect) -> String {
    let (now, then) = (dialect.now(), dialect.now_plus("l.after_us"));
    format!(
        "CASE WHEN l.behind IS NOT NULL THEN NULL WHEN l.after_us IS NOT NULL THEN {then} \
         ELSE coalesce(m.available_at, {now}) END"
    )
}

/// The id in the column `behind` of a list.
///
/// JSON has no bytes. In MySQL it is hexadecimal; SQLite, which has no `unhex` before 3.41, finds it at its place in one
/// blob of all ids.
fn id(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => "l.behind",
        Dialect::MySql => "UNHEX(l.behind)",
        Dialect::Sqlite => "substr(l.ids, l.behind, 16)",
    }
}

/// Rows that wait as a table `l(n, attempts, after_us, error, behind)`; its parameters are [`defer_values`].
fn defer_list(words: &Vocabulary) -> String {
    match words.dialect {
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
    .to_owned()
}

/// Rows that die as a table `l(n, attempts, reason, error, behind)`; its parameters are [`bury_values`].
fn bury_list(words: &Vocabulary) -> String {
    match words.dialect {
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
    .to_owned()
}

fn defer_values<'a>(dialect: Dialect, rows: &[Defer<'a>]) -> Vec<Value<'a>> {
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

fn bury_values<'a>(dialect: Dialect, rows: &[Bury<'a>]) -> Vec<Value<'a>> {
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

fn numbers_of<R>(rows: &[R], number: impl Fn(&R) -> i64) -> Vec<i64> {
    rows.iter().map(number).collect()
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
