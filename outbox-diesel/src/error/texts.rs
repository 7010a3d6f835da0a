//! What the servers really say.

#![allow(clippy::unwrap_used)]

use diesel::connection::{Connection, SimpleConnection};
use outbox_core::StoreErrorKind::{self, Conflict, NotMigrated, Other, SchemaVersion, Unavailable};
use outbox_sql::Dialect;

#[cfg(feature = "mysql")]
use super::is_lock_timeout;
use super::store_error;

/// Another connection to the same server. `None` if there is none.
#[cfg(any(feature = "postgres", feature = "mysql"))]
fn connect<C: Connection>(variable: &str, default: &str) -> Option<C> {
    let url = std::env::var(variable).unwrap_or_else(|_| default.to_owned());
    let connection = C::establish(&url).ok();
    let required = std::env::var_os("OUTBOX_REQUIRE_SERVICES").is_some();
    assert!(connection.is_some() || !required, "no server at {variable}");
    connection
}

/// What the error of a text of SQL means.
fn kind(dialect: Dialect, connection: &mut impl SimpleConnection, sql: &str) -> StoreErrorKind {
    let error = connection.batch_execute(sql).expect_err(sql);
    store_error(dialect, "test", error).kind()
}

/// Two sessions take the same two things in opposite order: one of them is told that it is a deadlock.
#[cfg(any(feature = "postgres", feature = "mysql"))]
fn deadlock<C: SimpleConnection + Send>(dialect: Dialect, sessions: [&mut C; 2], take: [&str; 2]) {
    let [first, second] = sessions;
    first.batch_execute(&format!("BEGIN; {}", take[0])).unwrap();
    second.batch_execute(&format!("BEGIN; {}", take[1])).unwrap();
    let kinds = std::thread::scope(|scope| {
        let threads = [(first, take[1]), (second, take[0])].map(|(session, sql)| {
            scope.spawn(move || {
                let taken = session.batch_execute(sql);
                session.batch_execute("ROLLBACK").unwrap();
                taken.map_err(|error| store_error(dialect, "test", error).kind())
            })
        });
        threads.map(|thread| thread.join().unwrap())
    });
    assert!(kinds.contains(&Err(Conflict)), "{kinds:?}");
}

#[test]
#[cfg(feature = "postgres")]
fn postgres() {
    use diesel::sql_types::Integer;
    use diesel::{PgConnection, RunQueryDsl, dsl, select};

    let connect =
        || connect::<PgConnection>("OUTBOX_TEST_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/postgres");
    let Some(mut session) = connect() else {
        return;
    };
    for (sql, expected) in [
        ("SELECT 1 FROM missing", NotMigrated),
        ("SELECT 1 FROM missing.missing", NotMigrated),
        ("CREATE TABLE missing.missing ()", NotMigrated),
        ("SELECT missing FROM pg_class", SchemaVersion),
        ("SELECT m.missing FROM pg_class m", SchemaVersion),
        ("CREATE TEMP TABLE t (a int); INSERT INTO t (missing) VALUES (1)", SchemaVersion),
        ("SET statement_timeout = 1; SELECT pg_sleep(10)", Conflict),
        ("SELECT 1 / 0", Other),
    ] {
        assert_eq!(kind(Dialect::Postgres, &mut session, sql), expected, "{sql}");
        session.batch_execute("RESET ALL").unwrap();
    }
    let read_only = "SET default_transaction_read_only = on";
    session.batch_execute(read_only).unwrap();
    assert_eq!(kind(Dialect::Postgres, &mut session, "CREATE TABLE no ()"), Unavailable);
    session.batch_execute("RESET ALL").unwrap();

    let mut other = connect().unwrap();
    let lock = || format!("SELECT pg_advisory_xact_lock({})", uuid::Uuid::now_v7().as_u64_pair().1 >> 2);
    let [a, b] = [lock(), lock()];
    session.batch_execute(&format!("BEGIN; {a}")).unwrap();
    let waiting = format!("SET lock_timeout = 1; {a}");
    assert_eq!(kind(Dialect::Postgres, &mut other, &waiting), Conflict);
    other.batch_execute("RESET ALL").unwrap();
    session.batch_execute("ROLLBACK; SET deadlock_timeout = '10ms'").unwrap();
    other.batch_execute("SET statement_timeout = '20s'").unwrap();
    deadlock(Dialect::Postgres, [&mut session, &mut other], [&a, &b]);

    let pid: i32 = select(dsl::sql::<Integer>("pg_backend_pid()")).get_result(&mut session).unwrap();
    other.batch_execute(&format!("SELECT pg_terminate_backend({pid}, 5000)")).unwrap();
    assert_eq!(kind(Dialect::Postgres, &mut session, "SELECT 1"), Unavailable);
    let error = select(dsl::sql::<Integer>("1")).get_result::<i32>(&mut session).unwrap_err();
    assert_eq!(
        store_error(Dialect::Postgres, "test", error).kind(),
        Unavailable,
        "also when it is long gone"
    );
}

#[test]
#[cfg(feature = "mysql")]
fn mysql() {
    use diesel::sql_types::BigInt;
    use diesel::{MysqlConnection, RunQueryDsl, dsl, select};

    let connect = || connect::<MysqlConnection>("OUTBOX_TEST_MYSQL_URL", "mysql://root@127.0.0.1:3306");
    let Some(mut session) = connect() else {
        return;
    };
    let mut other = connect().unwrap();
    let database = format!("outbox_test_{}", uuid::Uuid::now_v7().simple());
    session.batch_execute("SET SESSION lc_messages = 'de_DE'").unwrap();
    assert_eq!(kind(Dialect::MySql, &mut session, "SELECT 1 FROM mysql.missing"), Other);
    session.batch_execute(&format!("{}; CREATE DATABASE {database}", super::ENGLISH)).unwrap();
    for session in [&mut session, &mut other] {
        session.batch_execute(&format!("USE {database}; SET innodb_lock_wait_timeout = 1")).unwrap();
    }
    session.batch_execute("CREATE TABLE t (id INT PRIMARY KEY, n INT) ENGINE = InnoDB").unwrap();
    session.batch_execute("INSERT INTO t VALUES (1, 0), (2, 0)").unwrap();
    for (sql, expected) in [
        ("SELECT 1 FROM missing", NotMigrated),
        ("SELECT missing FROM t", SchemaVersion),
        ("INSERT INTO t (missing) VALUES (1)", SchemaVersion),
        (
            "SET STATEMENT max_statement_time = 0.01 FOR SELECT count(*) FROM t a WHERE sleep(10) = 0",
            Conflict,
        ),
        ("SELECT nonsense nonsense nonsense", Other),
        ("START TRANSACTION READ ONLY; INSERT INTO t VALUES (3, 0)", Unavailable),
    ] {
        assert_eq!(kind(Dialect::MySql, &mut session, sql), expected, "{sql}");
    }
    session.batch_execute("ROLLBACK; BEGIN; UPDATE t SET n = 1 WHERE id = 1").unwrap();
    assert_eq!(kind(Dialect::MySql, &mut other, "UPDATE t SET n = 2 WHERE id = 1"), Conflict);
    let waits = "SELECT n FROM t WHERE id = 1 FOR UPDATE";
    for (sql, expected) in
        [(waits, true), (&format!("{waits} NOWAIT"), true), ("SELECT 1 FROM missing", false)]
    {
        assert_eq!(is_lock_timeout(&other.batch_execute(sql).unwrap_err()), expected, "{sql}");
    }
    session.batch_execute("ROLLBACK").unwrap();
    let take = ["UPDATE t SET n = 3 WHERE id = 1", "UPDATE t SET n = 3 WHERE id = 2"];
    deadlock(Dialect::MySql, [&mut session, &mut other], take);

    let id: i64 = select(dsl::sql::<BigInt>("connection_id()")).get_result(&mut session).unwrap();
    other.batch_execute(&format!("DROP DATABASE {database}; KILL {id}")).unwrap();
    assert_eq!(kind(Dialect::MySql, &mut session, "SELECT 1"), Unavailable);
    let error = select(dsl::sql::<BigInt>("1")).get_result::<i64>(&mut session).unwrap_err();
    assert_eq!(store_error(Dialect::MySql, "test", error).kind(), Unavailable, "also when it is long gone");
}

#[test]
#[cfg(feature = "sqlite")]
fn sqlite() {
    use diesel::SqliteConnection;

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("texts.db");
    let connect = || SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    let (mut session, mut other) = (connect(), connect());
    session.batch_execute("CREATE TABLE t (id)").unwrap();
    for (sql, expected) in [
        ("SELECT 1 FROM missing", NotMigrated),
        ("SELECT missing FROM t", SchemaVersion),
        ("INSERT INTO t (missing) VALUES (1)", SchemaVersion),
        ("ATTACH '/nowhere/texts.db' AS a", Unavailable),
        ("SELECT nonsense nonsense nonsense", Other),
    ] {
        assert_eq!(kind(Dialect::Sqlite, &mut session, sql), expected, "{sql}");
    }
    session.batch_execute("BEGIN IMMEDIATE").unwrap();
    assert_eq!(kind(Dialect::Sqlite, &mut other, "BEGIN IMMEDIATE"), Conflict);
}
