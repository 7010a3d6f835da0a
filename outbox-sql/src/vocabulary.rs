use std::sync::Arc;
use std::time::Duration;

use crate::columns::{KEPT, as_number};
use crate::{Dialect, Statement, Table, TableNames, Value};

/// What the texts of the store are made of: the dialect, and the names of the tables as they stand in SQL.
#[derive(Debug, Clone)]
pub(crate) struct Vocabulary {
    pub(crate) dialect: Dialect,
    pub(crate) messages: String,
    pub(crate) deferred: String,
    pub(crate) dead_letters: String,
    pub(crate) shards: String,
    pub(crate) relays: String,
    pub(crate) requests: String,
}

/// No wait is longer: beyond it the databases' times end.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

impl Vocabulary {
    pub(crate) fn new(dialect: Dialect, names: &TableNames) -> Self {
        let table = |table| names.table(dialect, table);
        Self {
            dialect,
            messages: table(Table::Messages),
            deferred: table(Table::Deferred),
            dead_letters: table(Table::DeadLetters),
            shards: table(Table::Shards),
            relays: table(Table::Relays),
            requests: table(Table::Requests),
        }
    }

    /// The final text of a statement whose parameters are written as `?` in the order of their values. No name and no
    /// constant in a text has a question mark.
    pub(crate) fn text(&self, sql: &str) -> Arc<str> {
        let mut text = String::with_capacity(sql.len() + 16);
        let mut number = 0;
        for c in sql.chars() {
            if c == '?' {
                number += 1;
                text.push_str(&self.dialect.parameter(number));
            } else {
                text.push(c);
            }
        }
        text.into()
    }

    /// A statement on the deferred table or the dead letters, which are empty most of the time and have several indexes.
    ///
    /// PostgreSQL plans it anew each time. A plan that was kept from when the table was empty reads a whole index, any of
    /// them, for the rows of a list: on an empty table that looks cheaper than looking each of them up.
    pub(crate) fn planned_anew<'a>(&self, text: &Arc<str>, values: Vec<Value<'a>>) -> Statement<'a> {
        let reuse = self.dialect != Dialect::Postgres;
        Statement { reuse, ..Statement::new(text, values) }
    }

    /// The shard of a row of the table with this alias; one parameter, the number of shards less one.
    pub(crate) fn shard(&self, alias: &str) -> String {
        let column = |name: &str| format!("{alias}.{name}");
        self.dialect.shard(&column("ordering_key"), &column("id"), "?")
    }

    /// An expression as a 64-bit number, for a column of a result.
    pub(crate) fn number(&self, expression: &str) -> String {
        as_number(self.dialect, expression)
    }

    /// A list of numbers as a table `l(n)`; one parameter, made by [`Vocabulary::numbers`].
    pub(crate) fn number_list(&self) -> &'static str {
        match self.dialect {
            Dialect::Postgres => "unnest(?::int8[]) AS l(n)",
            Dialect::MySql => "json_table(?, '$[*]' COLUMNS (n BIGINT PATH '$')) AS l",
            Dialect::Sqlite => "(SELECT value AS n FROM json_each(?)) AS l",
        }
    }

    /// The value of a list of numbers.
    pub(crate) fn numbers(&self, numbers: &[i64]) -> Value<'static> {
        match self.dialect {
            Dialect::Postgres => Value::I64Array(numbers.iter().copied().map(Some).collect()),
            Dialect::MySql | Dialect::Sqlite => {
                let texts: Vec<String> = numbers.iter().map(i64::to_string).collect();
                Value::from(format!("[{}]", texts.join(",")))
            }
        }
    }
}

/// The columns that a message keeps in whichever table it is, each with a prefix such as `m.`.
pub(crate) fn kept(prefix: &str) -> String {
    KEPT.map(|column| format!("{prefix}{column}")).join(", ")
}

/// A wait in microseconds.
pub(crate) fn microseconds(wait: Duration) -> i64 {
    i64::try_from(wait.min(LONGEST).as_micros()).unwrap_or(i64::MAX)
}

/// A limit as a parameter.
pub(crate) fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_where_they_have_numbers() {
        let names = TableNames::default();
        let text = "a = ? AND b = ?";
        assert_eq!(&*Vocabulary::new(Dialect::Postgres, &names).text(text), "a = $1 AND b = $2");
        assert_eq!(&*Vocabulary::new(Dialect::MySql, &names).text(text), text);
        assert_eq!(&*Vocabulary::new(Dialect::Sqlite, &names).text(text), text);
    }

    #[test]
    fn the_longest_wait_fits_the_databases() {
        assert_eq!(microseconds(Duration::from_micros(7)), 7);
        assert_eq!(microseconds(Duration::MAX), microseconds(LONGEST));
    }
}
