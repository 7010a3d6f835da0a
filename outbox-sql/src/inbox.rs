use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;

use outbox_core::{Admission, ConsumerName, MessageId};

use crate::{Dialect, Statement, Table, TableNames, Value};

/// How long an insert waits for another transaction that is at the same message, in seconds. MariaDB's only: PostgreSQL
/// is asked without waiting, SQLite's single writer has waited before, and MySQL knows no limit of one statement, so there
/// it is the session's `innodb_lock_wait_timeout`.
macro_rules! mariadb_wait {
    () => {
        // A comment to MySQL.
        "/*M! SET STATEMENT innodb_lock_wait_timeout = 1 FOR */ "
    };
}

/// What sets the locks of this crate apart from those that the application takes by numbers of its own.
const LOCK_SEED: i64 = 0x006f_7574_626f_7869;

/// Rows in one statement at most, where each row has parameters of its own: a power of two, see [`crate::InsertStatements`].
const MOST_ROWS: usize = 1 << (TEXTS - 1);
const TEXTS: usize = 9;

/// Messages that PostgreSQL is asked about in one statement at most: each takes a lock in memory that all of its
/// transactions share.
const MOST_LOCKS: usize = 1_000;

const SAVEPOINT: &str = "SAVEPOINT outbox_inbox";
const RELEASE: &str = "RELEASE SAVEPOINT outbox_inbox";
const ROLL_BACK: &str = "ROLLBACK TO SAVEPOINT outbox_inbox";

/// The statements of an inbox, and how they are put together. All of them run in the caller's transaction.
///
/// The insert decides whether a message is fresh, by the number of rows that it changes:
///
/// * *PostgreSQL.* An insert that meets one of a transaction that is still open would wait for its end, with a connection
///   that nobody else can use. So it tries a lock of the transaction first, and inserts nothing if another one has it.
///   Whoever finds nothing inserted looks whether the row is there. Never an error that is caught: it would abort the
///   transaction.
/// * *MySQL, MariaDB.* `INSERT IGNORE`, since `ON DUPLICATE KEY UPDATE` counts an existing row as changed for clients that
///   ask for the rows found, as sqlx does. It ignores whatever is wrong with a row, and so everything was checked before.
///   An insert waits for one that is still open; MariaDB's for a second at most.
/// * *SQLite* has one writer.
#[derive(Debug, Clone)]
pub struct InboxStatements {
    dialect: Dialect,
    /// For one row, and PostgreSQL: for any number; the others: for 1, 2, 4, 8 … rows.
    admit: Arc<[Arc<str>]>,
    seen: Option<Arc<str>>,
}

impl InboxStatements {
    /// The texts for the table with these names.
    #[must_use]
    pub fn new(dialect: Dialect, names: &TableNames) -> Self {
        let table = names.table(dialect, Table::Inbox);
        let admit = match dialect {
            Dialect::Postgres => {
                let insert = |rows: &str, id: &str| {
                    format!(
                        "INSERT INTO {table} (consumer, message_id) SELECT $1::text, {id} {rows}WHERE \
                         pg_try_advisory_xact_lock(hashtextextended($1::text || ' ' || {id}::text, {LOCK_SEED})) \
                         ON CONFLICT (consumer, message_id) DO NOTHING"
                    )
                };
                vec![
                    insert("", "$2::uuid").into(),
                    insert("FROM UNNEST($2::uuid[]) AS m(id) ", "m.id").into(),
                ]
            }
            Dialect::MySql => {
                let head = format!(
                    concat!(mariadb_wait!(), "INSERT IGNORE INTO {} (consumer, message_id) VALUES "),
                    table
                );
                rows(|tuples| format!("{head}{tuples}"))
            }
            Dialect::Sqlite => rows(|tuples| {
                format!(
                    "INSERT INTO {table} (consumer, message_id) VALUES {tuples} \
                     ON CONFLICT (consumer, message_id) DO NOTHING"
                )
            }),
        };
        let seen = (dialect == Dialect::Postgres).then(|| {
            format!("SELECT 1 FROM {table} WHERE consumer = $1::text AND message_id = $2::uuid").into()
        });
        Self { dialect, admit: admit.into(), seen }
    }

    /// Admits one message.
    ///
    /// # Errors
    ///
    /// The database's.
    pub async fn admit<E: InboxExecutor>(
        &self,
        executor: &mut E,
        consumer: &ConsumerName,
        id: &MessageId,
    ) -> Result<Admission, E::Error> {
        match executor.count(self.insert(consumer, std::slice::from_ref(id))).await {
            Ok(0) => {}
            Ok(_) => return Ok(Admission::Fresh),
            Err(error) if executor.has_waited(&error) => return Ok(Admission::Busy),
            Err(error) => return Err(error),
        }
        let Some(seen) = &self.seen else {
            return Ok(Admission::Duplicate);
        };
        let values = vec![consumer.as_str().into(), self.id(id)];
        let there = executor.count(Statement::new(seen, values)).await?;
        Ok(if there > 0 { Admission::Duplicate } else { Admission::Busy })
    }

    /// Admits many messages: all at once, and one by one if not all of them are fresh.
    ///
    /// # Errors
    ///
    /// The database's.
    pub async fn admit_all<E: InboxExecutor>(
        &self,
        executor: &mut E,
        consumer: &ConsumerName,
        ids: &[MessageId],
    ) -> Result<Vec<Admission>, E::Error> {
        let mut admissions = Vec::with_capacity(ids.len());
        for part in ids.chunks(MOST_LOCKS) {
            if part.len() > 1 && self.all_fresh(executor, consumer, part).await? {
                admissions.extend(part.iter().map(|_| Admission::Fresh));
                continue;
            }
            for id in part {
                admissions.push(self.admit(executor, consumer, id).await?);
            }
        }
        Ok(admissions)
    }

    /// Admits all of them or none.
    async fn all_fresh<E: InboxExecutor>(
        &self,
        executor: &mut E,
        consumer: &ConsumerName,
        ids: &[MessageId],
    ) -> Result<bool, E::Error> {
        // Two that insert the same messages in another order would wait for each other.
        let mut sorted = ids.to_vec();
        sorted.sort_unstable();
        executor.run(SAVEPOINT).await?;
        for part in self.split(&sorted) {
            let fresh = match executor.count(self.insert(consumer, part)).await {
                Ok(changed) => usize::try_from(changed).is_ok_and(|changed| changed == part.len()),
                Err(error) if executor.has_waited(&error) => false,
                Err(error) => return Err(error),
            };
            if !fresh {
                executor.run(ROLL_BACK).await?;
                return Ok(false);
            }
        }
        executor.run(RELEASE).await?;
        Ok(true)
    }

    fn split<'i>(&self, mut rest: &'i [MessageId]) -> impl Iterator<Item = &'i [MessageId]> + use<'i> {
        // An array is one parameter, however long it is.
        let arrays = self.dialect == Dialect::Postgres;
        std::iter::from_fn(move || {
            let count = if arrays { rest.len() } else { 1 << rest.len().clamp(1, MOST_ROWS).ilog2() };
            let (part, after) = rest.split_at(count.min(rest.len()));
            rest = after;
            (!part.is_empty()).then_some(part)
        })
    }

    fn insert<'a>(&self, consumer: &'a ConsumerName, ids: &[MessageId]) -> Statement<'a> {
        let consumer: Value<'a> = consumer.as_str().into();
        match (ids, self.dialect) {
            ([id], _) => Statement::new(&self.admit[0], vec![consumer, self.id(id)]),
            (_, Dialect::Postgres) => {
                let ids = ids.iter().map(|id| Some(*id.as_uuid())).collect();
                Statement::new(&self.admit[1], vec![consumer, Value::UuidArray(ids)])
            }
            (_, Dialect::MySql | Dialect::Sqlite) => {
                let values = ids.iter().flat_map(|id| [consumer.clone(), self.id(id)]).collect();
                Statement::new(&self.admit[ids.len().ilog2() as usize], values)
            }
        }
    }

    fn id(&self, id: &MessageId) -> Value<'static> {
        match self.dialect {
            Dialect::Postgres => Value::Uuid(Some(*id.as_uuid())),
            Dialect::MySql | Dialect::Sqlite => Value::Bytes(Some(Cow::Owned(id.as_bytes().to_vec()))),
        }
    }
}

fn rows(text: impl Fn(&str) -> String) -> Vec<Arc<str>> {
    (0..TEXTS).map(|power| text(&vec!["(?, ?)"; 1 << power].join(", ")).into()).collect()
}

/// Runs the statements of an inbox through the connection that has the caller's transaction. What an adapter implements;
/// where the ORM blocks, the futures are ready at once.
pub trait InboxExecutor: Send {
    /// The ORM's error.
    type Error: Send;

    /// Runs a statement, and returns the number of rows that it changes, or reads.
    fn count(&mut self, statement: Statement<'_>) -> impl Future<Output = Result<u64, Self::Error>> + Send;

    /// Runs a statement without parameters.
    fn run(&mut self, sql: &'static str) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Whether an error says that a lock was not granted in time, which costs MySQL and MariaDB the statement and not
    /// the transaction: [`crate::ErrorCode::is_lock_timeout`].
    fn has_waited(&self, error: &Self::Error) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(count: usize) -> Vec<MessageId> {
        (0..count).map(|_| MessageId::new()).collect()
    }

    #[test]
    fn a_text_has_a_parameter_for_each_value() {
        let consumer = ConsumerName::new("billing").unwrap();
        for dialect in [Dialect::MySql, Dialect::Sqlite] {
            let statements = InboxStatements::new(dialect, &TableNames::default());
            for count in [1, 2, 256] {
                let statement = statements.insert(&consumer, &ids(count));
                assert_eq!(statement.sql.matches('?').count(), statement.values.len(), "{}", statement.sql);
            }
        }
    }

    #[test]
    fn every_id_is_in_one_part() {
        for (dialect, expected) in
            [(Dialect::Postgres, vec![700]), (Dialect::MySql, vec![256, 256, 128, 32, 16, 8, 4])]
        {
            let statements = InboxStatements::new(dialect, &TableNames::default());
            let ids = ids(700);
            let parts: Vec<&[MessageId]> = statements.split(&ids).collect();
            assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), expected);
            assert_eq!(parts.concat(), ids);
        }
    }
}
