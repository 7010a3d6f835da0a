use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;

use outbox_core::{Admission, ConsumerName, MessageId};

use crate::{Dialect, Statement, Table, TableNames, Value};

/// How long an insert waits for another transaction that is at the same message, in seconds. MariaDB's only: PostgreSQL
/// is asked without waiting, SQLite's single writer has waited before, and MySQL knows no limit of one statement, so there
/// it is the session's `innodb_lock_wait_timeout`.
const MARIADB_WAIT: u32 = 1;

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

/// For one row, and PostgreSQL: for any number; the others: for 1, 2, 4, 8 … rows.
type Texts = Arc<[Arc<str>]>;

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
///   An insert waits for one that is still open; MariaDB's for a second at most, and a list for the first
///   such one only. Where nothing is inserted it is tried once more, and must say the same: a connection whose user was
///   cut off while a pool tested it gives each answer one statement late, and the answer of a statement that changes
///   nothing looks like that of a duplicate. Effects would be lost.
/// * *SQLite* has one writer.
#[derive(Debug, Clone)]
pub struct InboxStatements {
    dialect: Dialect,
    admit: Texts,
    /// The same, and nobody is waited for.
    admit_at_once: Texts,
    seen: Option<Arc<str>>,
}

impl InboxStatements {
    /// The texts for the table with these names.
    #[must_use]
    pub fn new(dialect: Dialect, names: &TableNames) -> Self {
        let table = names.table(dialect, Table::Inbox);
        let admit = |mariadb_wait: u32| match dialect {
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
                // A comment to MySQL.
                let wait = format!("/*M! SET STATEMENT innodb_lock_wait_timeout = {mariadb_wait} FOR */");
                rows(|tuples| {
                    format!("{wait} INSERT IGNORE INTO {table} (consumer, message_id) VALUES {tuples}")
                })
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
        let (waits, at_once) = (admit(MARIADB_WAIT), admit(0));
        Self { dialect, admit: waits.into(), admit_at_once: at_once.into(), seen }
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
        let waited = &mut false;
        self.admit_one(executor, consumer, id, waited).await
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
        if let [id] = ids {
            return Ok(vec![self.admit(executor, consumer, id).await?]);
        }
        // Two that insert the same messages in another order would wait for each other. Of those that are equal the first
        // one stays the first.
        let mut order: Vec<usize> = (0..ids.len()).collect();
        order.sort_by_key(|&index| ids[index]);
        let sorted: Vec<MessageId> = order.iter().map(|&index| ids[index]).collect();

        let mut admissions = vec![Admission::Busy; ids.len()];
        let mut places = order.into_iter();
        // Whoever has waited once for one of them does not wait again.
        let waited = &mut false;
        for part in sorted.chunks(MOST_LOCKS) {
            for admission in self.admit_part(executor, consumer, part, waited).await? {
                let place = places.next().expect("there is a place for each");
                admissions[place] = admission;
            }
        }
        Ok(admissions)
    }

    async fn admit_part<E: InboxExecutor>(
        &self,
        executor: &mut E,
        consumer: &ConsumerName,
        part: &[MessageId],
        waited: &mut bool,
    ) -> Result<Vec<Admission>, E::Error> {
        executor.run(SAVEPOINT).await?;
        let admissions = if self.all_fresh(executor, consumer, part, waited).await? {
            vec![Admission::Fresh; part.len()]
        } else {
            executor.run(ROLL_BACK).await?;
            let mut admissions = Vec::with_capacity(part.len());
            for id in part {
                admissions.push(self.admit_one(executor, consumer, id, waited).await?);
            }
            admissions
        };
        // It fails if the transaction was rolled back meanwhile, as a server can be told to do when a lock is not granted:
        // then what was admitted before is not.
        executor.run(RELEASE).await?;
        Ok(admissions)
    }

    /// Whether all of them were admitted. If not, some of them may have been.
    async fn all_fresh<E: InboxExecutor>(
        &self,
        executor: &mut E,
        consumer: &ConsumerName,
        ids: &[MessageId],
        waited: &mut bool,
    ) -> Result<bool, E::Error> {
        for part in self.split(ids) {
            let inserted = self.try_insert(executor, consumer, part, waited).await?;
            if inserted.and_then(|count| usize::try_from(count).ok()) != Some(part.len()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn admit_one<E: InboxExecutor>(
        &self,
        executor: &mut E,
        consumer: &ConsumerName,
        id: &MessageId,
        waited: &mut bool,
    ) -> Result<Admission, E::Error> {
        match self.try_insert(executor, consumer, std::slice::from_ref(id), waited).await? {
            #[cfg(outbox_sabotage)]
            Some(_) if outbox_core::sabotage::is("inbox-admits-twice") => return Ok(Admission::Fresh),
            Some(0) => {}
            Some(_) => return Ok(Admission::Fresh),
            None => return Ok(Admission::Busy),
        }
        let is_there = match (&self.seen, self.dialect) {
            (Some(seen), _) => {
                let values = vec![consumer.as_str().into(), self.id(id)];
                executor.count(Statement::new(seen, values)).await? > 0
            }
            (None, Dialect::MySql) => {
                *waited = true;
                self.try_insert(executor, consumer, std::slice::from_ref(id), waited).await? == Some(0)
            }
            (None, _) => true,
        };
        Ok(if is_there { Admission::Duplicate } else { Admission::Busy })
    }

    /// The number of rows that were inserted; `None` if another transaction was waited for in vain.
    async fn try_insert<E: InboxExecutor>(
        &self,
        executor: &mut E,
        consumer: &ConsumerName,
        ids: &[MessageId],
        waited: &mut bool,
    ) -> Result<Option<u64>, E::Error> {
        let texts = if *waited { &self.admit_at_once } else { &self.admit };
        match executor.count(self.insert(texts, consumer, ids)).await {
            Ok(count) => Ok(Some(count)),
            Err(error) if executor.has_waited(&error) => {
                *waited = true;
                Ok(None)
            }
            Err(error) => Err(error),
        }
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

    fn insert<'a>(&self, texts: &Texts, consumer: &'a ConsumerName, ids: &[MessageId]) -> Statement<'a> {
        let consumer: Value<'a> = consumer.as_str().into();
        match (ids, self.dialect) {
            ([id], _) => Statement::new(&texts[0], vec![consumer, self.id(id)]),
            (_, Dialect::Postgres) => {
                let ids = ids.iter().map(|id| Some(*id.as_uuid())).collect();
                Statement::new(&texts[1], vec![consumer, Value::UuidArray(ids)])
            }
            (_, Dialect::MySql | Dialect::Sqlite) => {
                let values = ids.iter().flat_map(|id| [consumer.clone(), self.id(id)]).collect();
                Statement::new(&texts[ids.len().ilog2() as usize], values)
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
                let statement = statements.insert(&statements.admit, &consumer, &ids(count));
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

    /// Answers that come a statement late: the first one is that of a statement which changed nothing, and the second says
    /// that the first insert did insert.
    #[test]
    fn one_answer_alone_makes_no_duplicate_on_mysql() {
        let statements = InboxStatements::new(Dialect::MySql, &TableNames::default());
        let consumer = ConsumerName::new("billing").unwrap();
        for (answers, expected) in
            [(vec![0, 0], Admission::Duplicate), (vec![0, 1], Admission::Busy), (vec![1], Admission::Fresh)]
        {
            let mut server = Answers(answers.into_iter());
            let id = MessageId::new();
            let mut admitting = std::pin::pin!(statements.admit(&mut server, &consumer, &id));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert_eq!(admitting.as_mut().poll(&mut context), std::task::Poll::Ready(Ok(expected)));
        }
    }

    /// Whoever waits in vain for the last of them may have lost the others: the server can be told to roll back then.
    #[test]
    fn each_part_of_a_list_has_a_savepoint_that_notices_a_rollback() {
        let statements = InboxStatements::new(Dialect::Postgres, &TableNames::default());
        let consumer = ConsumerName::new("billing").unwrap();
        for (count, savepoints) in [(1, 0), (2, 1), (MOST_LOCKS, 1), (MOST_LOCKS + 1, 2)] {
            let ids = ids(count);
            let mut server = Savepoints(0);
            {
                let mut admitting = std::pin::pin!(statements.admit_all(&mut server, &consumer, &ids));
                let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                assert!(admitting.as_mut().poll(&mut context).is_ready());
            }
            assert_eq!(server.0, savepoints, "{count}");
        }
    }

    /// A server that says of nothing that it was new, and counts the savepoints that were released.
    struct Savepoints(usize);

    impl InboxExecutor for Savepoints {
        type Error = &'static str;

        async fn count(&mut self, _: Statement<'_>) -> Result<u64, &'static str> {
            Ok(0)
        }

        async fn run(&mut self, sql: &'static str) -> Result<(), &'static str> {
            self.0 += usize::from(sql == RELEASE);
            Ok(())
        }

        fn has_waited(&self, _: &&'static str) -> bool {
            false
        }
    }

    /// A server that says just these numbers.
    struct Answers(std::vec::IntoIter<u64>);

    impl InboxExecutor for Answers {
        type Error = &'static str;

        async fn count(&mut self, _: Statement<'_>) -> Result<u64, &'static str> {
            self.0.next().ok_or("nothing more was expected")
        }

        async fn run(&mut self, _: &'static str) -> Result<(), &'static str> {
            Ok(())
        }

        fn has_waited(&self, _: &&'static str) -> bool {
            false
        }
    }

    /// A server may be told to roll the whole transaction back when a lock is not granted. What was admitted before that
    /// is no longer, and must not be called fresh.
    #[test]
    fn a_list_whose_transaction_is_gone_is_an_error() {
        let statements = InboxStatements::new(Dialect::MySql, &TableNames::default());
        let consumer = ConsumerName::new("billing").unwrap();
        for (waits, expected) in [
            (None, Ok(vec![Admission::Fresh; 3])),
            (Some(0), Err("no such savepoint")),
            (Some(2), Err("no such savepoint")),
        ] {
            let mut server = RollsBack { waits, ..RollsBack::default() };
            let ids = ids(3);
            let mut admitting = std::pin::pin!(statements.admit_all(&mut server, &consumer, &ids));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert_eq!(admitting.as_mut().poll(&mut context), std::task::Poll::Ready(expected));
        }
    }

    /// A server that rolls the transaction back where it waits: by the number of the insert.
    #[derive(Default)]
    struct RollsBack {
        waits: Option<usize>,
        inserts: usize,
        savepoint: bool,
    }

    impl InboxExecutor for RollsBack {
        type Error = &'static str;

        async fn count(&mut self, statement: Statement<'_>) -> Result<u64, &'static str> {
            let insert = self.inserts;
            self.inserts += 1;
            if self.waits == Some(insert) {
                self.savepoint = false;
                return Err("lock wait time-out");
            }
            let rows = statement.values.len() as u64 / 2;
            // A duplicate among the first ones, so that they are admitted one by one.
            Ok(if insert == 0 && self.waits.is_some() { rows - 1 } else { rows })
        }

        async fn run(&mut self, sql: &'static str) -> Result<(), &'static str> {
            self.savepoint |= sql == SAVEPOINT;
            if self.savepoint { Ok(()) } else { Err("no such savepoint") }
        }

        fn has_waited(&self, error: &&'static str) -> bool {
            *error == "lock wait time-out"
        }
    }
}
