use outbox_core::{
    Claim, ClaimRequest, ClaimSource, DuePosition, OrderingKey, Scope, Seq, StoreError, StoreErrorKind,
};

use crate::columns::message_columns;
use crate::scope::{Scoped, bind, count_less_one};
use crate::vocabulary::{Vocabulary, limit};
use crate::{Dialect, Driver, Session, SqlStore, Statement, Table, Value};

/// The texts that read messages. None of them locks a row or waits for one.
#[derive(Debug)]
pub(crate) struct Claims {
    fresh: Scoped,
    exact: Scoped,
    due: Scoped,
    due_after: Scoped,
    held: Scoped,
    /// The same of one key: in its order without sorting all that waits of it for each page.
    held_of_one: Scoped,
    scan: Scoped,
}

impl Claims {
    pub(crate) fn new(words: &Vocabulary) -> Self {
        let columns = |table| message_columns(words.dialect, table, &words.shard("m"));
        let (fresh, deferred) = (columns(Table::Messages), columns(Table::Deferred));
        let messages = in_order_of_seq(words);
        let table = by_due_time(words);
        let now = match words.dialect {
            // A volatile function is no condition for an index; a sub-select is evaluated once.
            Dialect::Postgres => format!("(SELECT {})", words.dialect.now()),
            Dialect::MySql | Dialect::Sqlite => words.dialect.now().to_owned(),
        };
        let due = words.dialect.from_epoch_us("?");
        Self {
            fresh: Scoped::new(words, |clauses| {
                let clauses = clauses.of("m");
                format!("SELECT {fresh} FROM {messages} WHERE m.seq > ?{clauses} ORDER BY m.seq LIMIT ?")
            }),
            exact: Scoped::new(words, |clauses| {
                let (from, clauses) = (among_numbers(words), clauses.of("m"));
                format!("SELECT {fresh} FROM {from}{clauses} ORDER BY m.seq LIMIT ?")
            }),
            due: Scoped::new(words, |clauses| {
                let clauses = clauses.of("m");
                format!(
                    "SELECT {deferred} FROM {table} WHERE m.due_at <= {now}{clauses} \
                     ORDER BY m.due_at, m.number LIMIT ?"
                )
            }),
            due_after: Scoped::new(words, |clauses| {
                let clauses = clauses.of("m");
                format!(
                    "SELECT {deferred} FROM {table} WHERE m.due_at <= {now} AND m.due_at >= {due} \
                     AND (m.due_at > {due} OR m.number > ?){clauses} ORDER BY m.due_at, m.number LIMIT ?"
                )
            }),
            held: Scoped::new(words, |clauses| {
                held(words, key_list(words.dialect), &deferred, &clauses.of("m"))
            }),
            held_of_one: Scoped::new(words, |clauses| held(words, "= ?", &deferred, &clauses.of("m"))),
            scan: Scoped::new(words, |clauses| {
                let clauses = clauses.of("m");
                format!(
                    "SELECT m.seq FROM {messages} WHERE m.seq > ? AND m.seq <= ?{clauses} ORDER BY m.seq LIMIT ?"
                )
            }),
        }
    }
}

/// The table of messages, along its primary key. MySQL and MariaDB must be told: there is no other index today, but an
/// index that somebody adds would otherwise be taken for the claim and sorted.
pub(crate) fn in_order_of_seq(words: &Vocabulary) -> String {
    match words.dialect {
        Dialect::MySql => format!("{} m FORCE INDEX (PRIMARY)", words.messages),
        Dialect::Postgres | Dialect::Sqlite => format!("{} m", words.messages),
    }
}

/// The deferred rows along their due times. MySQL and MariaDB must be told: where many are due, they would sort them all.
pub(crate) fn by_due_time(words: &Vocabulary) -> String {
    match words.dialect {
        Dialect::MySql => format!("{} m FORCE INDEX (due)", words.deferred),
        Dialect::Postgres | Dialect::Sqlite => format!("{} m", words.deferred),
    }
}

/// The messages with the numbers of a list; one parameter.
fn among_numbers(words: &Vocabulary) -> String {
    let (messages, list) = (&words.messages, words.number_list());
    match words.dialect {
        Dialect::Postgres => format!("{messages} m WHERE m.seq = ANY (?::int8[])"),
        Dialect::MySql => format!("{list} STRAIGHT_JOIN {messages} m ON m.seq = l.n WHERE true"),
        Dialect::Sqlite => format!("{messages} m WHERE m.seq IN (SELECT value FROM json_each(?))"),
    }
}

/// The held rows of the keys of which the condition is true, after a `seq`.
fn held(words: &Vocabulary, keys: &str, columns: &str, clauses: &str) -> String {
    let table = &words.deferred;
    format!(
        "SELECT {columns} FROM {table} m WHERE m.ordering_key {keys} AND m.held_behind IS NOT NULL \
         AND m.seq > ?{clauses} ORDER BY m.seq, m.number LIMIT ?"
    )
}

/// The condition on a key that is in a list; one parameter, made by [`keys_value`].
pub(crate) const fn key_list(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => "= ANY (?::text[])",
        // Hexadecimal, because keys are bytes there and JSON has none.
        Dialect::MySql => {
            "IN (SELECT UNHEX(l.k) FROM json_table(?, '$[*]' COLUMNS \
             (k VARCHAR(1024) CHARACTER SET ascii PATH '$')) AS l)"
        }
        Dialect::Sqlite => "IN (SELECT value FROM json_each(?))",
    }
}

/// The value of a key.
fn key_value(dialect: Dialect, key: &OrderingKey) -> Value<'_> {
    match dialect {
        // Keys are bytes there.
        Dialect::MySql => Value::Bytes(Some(key.as_str().as_bytes().into())),
        Dialect::Postgres | Dialect::Sqlite => Value::from(key.as_str()),
    }
}

/// The value of a list of keys.
pub(crate) fn keys_value(dialect: Dialect, keys: &[OrderingKey]) -> Value<'_> {
    match dialect {
        Dialect::Postgres => Value::TextArray(keys.iter().map(|key| Some(key.as_str().into())).collect()),
        Dialect::MySql => {
            let texts: Vec<String> = keys.iter().map(|key| hexadecimal(key.as_str().as_bytes())).collect();
            Value::from(serde_json::Value::from(texts).to_string())
        }
        Dialect::Sqlite => {
            let texts: Vec<&str> = keys.iter().map(OrderingKey::as_str).collect();
            Value::from(serde_json::Value::from(texts).to_string())
        }
    }
}

/// Bytes in hexadecimal.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02X}");
        text
    })
}

impl<D: Driver> SqlStore<D> {
    pub(crate) async fn read_messages(&self, request: &ClaimRequest) -> Result<Claim, StoreError> {
        let scope = &request.scope;
        let dialect = self.words.dialect;
        if scope.shards.is_empty() {
            return Ok(Claim::default());
        }
        let mut values = vec![count_less_one(scope)];
        let texts = &self.claims;
        let text = match &request.source {
            ClaimSource::Fresh { after } => {
                values.push(Value::from(*after));
                &texts.fresh
            }
            ClaimSource::Exact { seqs } if seqs.is_empty() => return Ok(Claim::default()),
            ClaimSource::Exact { seqs } => {
                values.push(self.words.numbers(seqs));
                &texts.exact
            }
            ClaimSource::Due { after: None } => &texts.due,
            ClaimSource::Due { after: Some(DuePosition { due_at, number }) } => {
                values.extend([due_at, due_at, number].map(|value| Value::from(*value)));
                &texts.due_after
            }
            ClaimSource::Held { keys, .. } if keys.is_empty() => return Ok(Claim::default()),
            ClaimSource::Held { keys, after } if keys.len() == 1 => {
                values.extend(keys.iter().map(|key| key_value(dialect, key)));
                values.push(Value::from(*after));
                &texts.held_of_one
            }
            ClaimSource::Held { keys, after } => {
                values.push(keys_value(dialect, keys));
                values.push(Value::from(*after));
                &texts.held
            }
            other => {
                let text = format!("this store does not know how to read {other:?}");
                return Err(StoreError::new(StoreErrorKind::Invalid, "claim", text));
            }
        };
        bind(&mut values, dialect, scope);
        values.push(Value::from(limit(request.limit)));
        let statement = match &request.source {
            ClaimSource::Fresh { .. } | ClaimSource::Exact { .. } => Statement::new(text.text(scope), values),
            _ => self.words.planned_anew(text.text(scope), values),
        };
        let claim = self.driver.messages(Session::Read, statement, request.limit, request.max_bytes).await?;
        if let (ClaimSource::Fresh { .. }, Some(last)) = (&request.source, claim.rows.last()) {
            self.late_commits.claimed(last.seq);
        }
        Ok(claim)
    }

    pub(crate) async fn read_seqs(
        &self,
        scope: &Scope,
        after: Seq,
        upto: Seq,
        most: usize,
    ) -> Result<Vec<Seq>, StoreError> {
        if after >= upto || scope.shards.is_empty() {
            return Ok(Vec::new());
        }
        let mut values = vec![Value::from(after), Value::from(upto)];
        bind(&mut values, self.words.dialect, scope);
        values.push(Value::from(limit(most)));
        let statement = Statement::new(self.claims.scan.text(scope), values);
        let rows = self.driver.query(Session::Read, statement).await?;
        rows.iter().map(|row| row.number(0)).collect()
    }
}
