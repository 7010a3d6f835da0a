use std::sync::Arc;

use crate::lists::{bury_list, bury_values, defer_list, defer_values, id};
use crate::plan::{Bury, Defer};
use crate::vocabulary::{Vocabulary, kept};
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
            defer_fresh: Move::new(
                words,
                (messages, "seq", ""),
                (deferred, WAITS),
                defer_list(words.dialect),
                &waits,
            ),
            defer_deferred: words.text(&wait_again(words)),
            bury_fresh: Move::new(
                words,
                (messages, "seq", ""),
                (dead, DIED),
                bury_list(words.dialect),
                &died("l.error"),
            ),
            bury_deferred: Move::new(
                words,
                (deferred, "number", ", number, last_error"),
                (dead, DIED),
                bury_list(words.dialect),
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
    let (table, list, now) = (&words.deferred, defer_list(words.dialect), words.dialect.now());
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

fn numbers_of<R>(rows: &[R], number: impl Fn(&R) -> i64) -> Vec<i64> {
    rows.iter().map(number).collect()
}
