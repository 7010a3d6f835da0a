//! What a transaction leaves behind in the pool of MySQL and MariaDB, where the session is changed for it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use outbox_conformance::run_case;
use outbox_conformance::transaction_suite::PlainConnection;
use outbox_seaorm::{OutboxTransaction, TransactionError};
use sea_orm::sqlx::mysql::MySqlPoolOptions;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, SqlxMySqlConnector, Statement};
use tokio::time::{Instant, timeout};

use crate::fixture::{Fixture, TestDatabase, select};
use crate::mysql::MySql;
use crate::writer::message;

type MySqlFixture = Fixture<MySql>;

/// All that the pool has.
const CONNECTIONS: i64 = 10;
/// 0 if a session is as it was opened, and in no transaction.
const SESSION: &str = "SELECT CAST(
    (@@autocommit <> 1) + 2 * (@@completion_type <> 'NO_CHAIN') + 4 * @@in_transaction AS SIGNED)";

fn case<Fut>(case: impl FnOnce(Arc<MySqlFixture>) -> Fut)
where
    Fut: Future<Output = ()> + Send + 'static,
{
    run_case::<MySqlFixture, _, _>(case);
}

impl MySqlFixture {
    async fn open(&self) -> OutboxTransaction {
        let mut tx = self.writer.begin(&self.db).await.unwrap();
        assert_eq!(select::<i64>(&tx, "SELECT @@autocommit").await, [0], "it is about this");
        tx.add(message());
        tx
    }

    /// Takes every connection that the pool can have, looks at its session, and whether what is written through it is
    /// there for others at once.
    async fn nothing_is_left(&self) {
        let mut connections: Vec<Box<dyn PlainConnection>> = Vec::new();
        for number in 0..CONNECTIONS {
            let acquired = timeout(Duration::from_secs(20), MySql::acquire(&self.db));
            let mut connection = acquired.await.expect("no connection is lost to the pool");
            assert_eq!(connection.number(SESSION).await.unwrap(), 0, "connection {number}");
            connection.execute("INSERT INTO business VALUES (NULL)").await.unwrap();
            connections.push(connection);
        }
        let count = "SELECT COUNT(*) FROM business";
        assert_eq!(connections[0].number(count).await.unwrap(), CONNECTIONS);
        connections[0].execute("DELETE FROM business").await.unwrap();
        let open = "SELECT COUNT(*) FROM information_schema.innodb_trx
                    JOIN information_schema.processlist ON id = trx_mysql_thread_id WHERE db = database()";
        let give_up = Instant::now() + Duration::from_secs(20);
        while connections[0].number(open).await.unwrap() > 0 {
            assert!(Instant::now() < give_up, "a transaction is still open");
            // Whoever reads this table more often than every 100 ms keeps seeing the same.
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    }

    /// A pool of one connection to the same database.
    fn single(&self) -> DatabaseConnection {
        let options = self.db.get_mysql_connection_pool().connect_options();
        let pool = MySqlPoolOptions::new().max_connections(1).connect_lazy_with((*options).clone());
        SqlxMySqlConnector::from_sqlx_mysql_pool(pool)
    }

    /// Makes the table that `nothing_is_left` writes to.
    async fn business(&self) {
        let create = "CREATE TABLE business (id BIGINT AUTO_INCREMENT PRIMARY KEY)";
        self.db.execute_unprepared(create).await.unwrap();
    }
}

async fn id(connection: &impl ConnectionTrait) -> u64 {
    select(connection, "SELECT CAST(connection_id() AS UNSIGNED)").await.remove(0)
}

/// Waits until the server has closed a connection.
async fn closed(db: &DatabaseConnection, id: u64) {
    let give_up = Instant::now() + Duration::from_secs(20);
    let look = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE id = {id}");
    while select::<i64>(db, &look).await != [0] {
        assert!(Instant::now() < give_up, "the connection is still there");
    }
}

/// One that ended in order costs no connection.
#[test]
fn a_connection_is_used_again() {
    case(|fixture| async move {
        let db = fixture.single();
        let first = id(&db).await;
        for _ in 0..3 {
            let tx = fixture.writer.begin(&db).await.unwrap();
            assert_eq!(id(&tx).await, first);
            tx.commit().await.unwrap();
            let tx = fixture.writer.begin(&db).await.unwrap();
            assert_eq!(id(&tx).await, first);
            tx.rollback().await;
        }
        assert_eq!(select::<i64>(&db, "SELECT @@autocommit").await, [1]);
        assert_eq!(id(&db).await, first);
    });
}

#[test]
fn the_connection_of_a_dropped_transaction_is_closed() {
    case(|fixture| async move {
        fixture.business().await;
        let tx = fixture.open().await;
        let first = id(&tx).await;
        drop(tx);
        closed(&fixture.db, first).await;
        fixture.nothing_is_left().await;
    });
}

/// A session that can't be made what it was is not used again, and the transaction ended as it was meant to.
#[test]
fn a_connection_that_is_not_restored_is_closed() {
    case(|fixture| async move {
        fixture.business().await;
        let spoil = "SET @outbox_completion_type = 'nonsense'";
        let tx = fixture.open().await;
        let first = id(&tx).await;
        tx.execute_unprepared(spoil).await.unwrap();
        tx.rollback().await;
        closed(&fixture.db, first).await;
        assert_eq!(fixture.fresh_ids().await, []);
        let tx = fixture.open().await;
        let second = id(&tx).await;
        tx.execute_unprepared(spoil).await.unwrap();
        tx.commit().await.unwrap();
        closed(&fixture.db, second).await;
        assert_eq!(fixture.fresh_ids().await.len(), 1);
        fixture.nothing_is_left().await;
    });
}

/// Whoever goes away at whatever moment of a transaction's life: the pool has all its connections, and each is as it was.
#[test]
fn whatever_is_cut_off_leaves_nothing() {
    case(|fixture| async move {
        fixture.business().await;
        for step in 0..60 {
            let cut_off = Duration::from_micros(25 * step);
            let _ = timeout(cut_off, fixture.writer.begin(&fixture.db)).await;

            let tx = fixture.open().await;
            let insert = "INSERT INTO business VALUES (?), (?)";
            let statement =
                Statement::from_sql_and_values(DbBackend::MySql, insert, [1_000.into(), 1_001.into()]);
            let _ = timeout(cut_off, tx.execute_raw(statement)).await;
            drop(tx);

            let tx = fixture.open().await;
            let _ = timeout(cut_off, tx.execute_unprepared("SELECT SLEEP(0.001); SELECT 1")).await;
            drop(tx);

            let mut tx = fixture.open().await;
            let _ = timeout(cut_off, tx.flush()).await;
            drop(tx);

            let _ = timeout(cut_off, fixture.open().await.rollback()).await;
            let _ = timeout(cut_off, fixture.open().await.commit()).await;
        }
        fixture.nothing_is_left().await;
    });
}

/// Whose connection is lost while he commits is told that nobody knows.
#[test]
fn a_lost_commit_is_unknown() {
    case(|fixture| async move {
        let tx = fixture.writer.begin(&fixture.db).await.unwrap();
        let lost = id(&tx).await;
        fixture.db.execute_unprepared(&format!("KILL {lost}")).await.unwrap();
        closed(&fixture.db, lost).await;
        let error = tx.commit().await.unwrap_err();
        assert!(matches!(error, TransactionError::Unknown(_)), "{error}");
        fixture.business().await;
        fixture.nothing_is_left().await;
    });
}

/// sqlx itself forgets a `BEGIN` that was cut off: the next statement on that connection would never be committed.
#[test]
fn a_begin_that_is_cut_off_leaves_nothing_open() {
    case(|fixture| async move {
        let db = fixture.single();
        for step in 0..200 {
            let cut_off = Duration::from_micros(5 * step);
            let _ = timeout(cut_off, fixture.writer.begin(&db)).await;
            let mut connection = timeout(Duration::from_secs(20), MySql::acquire(&db)).await.unwrap();
            assert_eq!(connection.number(SESSION).await.unwrap(), 0, "{cut_off:?}");
        }
    });
}

/// A caller who goes on after a statement that he cut off gets an error or is right; the pool gets its connection back.
#[test]
fn a_rollback_after_a_cut_off_statement_leaves_nothing() {
    case(|fixture| async move {
        fixture.business().await;
        for _ in 0..CONNECTIONS {
            let tx = fixture.open().await;
            let sleep = Statement::from_string(DbBackend::MySql, "SELECT SLEEP(0.1)");
            timeout(Duration::from_millis(20), tx.query_all_raw(sleep)).await.unwrap_err();
            tx.rollback().await;
        }
        fixture.nothing_is_left().await;
    });
}
