//! Databases of one test each, spoken to by the programs that come with them.

mod client;
mod mariadb;
mod postgres;
mod sqlite;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use outbox_conformance::started;
use tempfile::TempDir;

pub(crate) use client::Session;

use crate::eventually::until;

/// What differs between the databases, as data.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// Makes a database; `None` if there is no server or no client program.
    create: fn(name: &str, folder: &TempDir) -> Option<Place>,
    pub(crate) begin: &'static str,
    /// A text of bytes, given in hexadecimal digits.
    pub(crate) bytes: fn(hex: &str) -> String,
    /// An id, given in hexadecimal digits.
    pub(crate) id: fn(hex: &str) -> String,
    /// A column of short text and one of long text.
    pub(crate) text_types: [&'static str; 2],
    /// Programs that write at the same time.
    pub(crate) writers: usize,
}

/// Where a database is.
struct Place {
    url: String,
    /// The client program with everything it needs to know; it reads SQL from its standard input.
    client: Vec<String>,
    /// What removes it.
    remove: Option<Vec<String>>,
}

pub(crate) use mariadb::MARIADB;
pub(crate) use postgres::POSTGRES;
pub(crate) use sqlite::SQLITE;

/// A fresh database, removed when it is dropped.
pub(crate) struct Database {
    pub(crate) kind: &'static Kind,
    place: Place,
    folder: TempDir,
}

impl Database {
    /// `None`, with a printed line, if there is no such database here.
    pub(crate) fn create(kind: &'static Kind) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let name = format!("outbox_test_{}", uuid::Uuid::now_v7().simple());
        let place = started(kind.name, (kind.create)(&name, &folder))?;
        Some(Self { kind, place, folder })
    }

    pub(crate) fn url(&self) -> &str {
        &self.place.url
    }

    /// A path in a folder that goes with the database.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Another process of the client program, which has not read anything yet.
    pub(crate) fn client(&self) -> Command {
        command(&self.place.client)
    }

    /// Runs statements to their end.
    pub(crate) fn execute(&self, sql: &str) {
        let _ = self.query(sql);
    }

    /// Runs statements, and returns what they printed: rows of columns.
    pub(crate) fn query(&self, sql: &str) -> Vec<Vec<String>> {
        client::run(self.client(), sql)
            .unwrap_or_else(|error| panic!("{}: {error}\n{sql:.400}", self.kind.name))
    }

    /// The number that a query returns.
    pub(crate) fn number(&self, sql: &str) -> i64 {
        self.query(sql)[0][0].parse().unwrap()
    }

    /// A session that stays open.
    pub(crate) fn session(&self) -> Session {
        Session::open(self.client())
    }

    /// Waits until no message waits.
    pub(crate) fn drains(&self, limit: Duration) -> Duration {
        until("the outbox is empty", limit, || self.waiting() == 0)
    }

    /// Rows that wait, also for a retry. Without a count of the whole table, which a test that watches scans could not
    /// tell from the relay's.
    pub(crate) fn waiting(&self) -> i64 {
        self.number(
            "SELECT (SELECT count(*) FROM (SELECT 1 FROM outbox_messages ORDER BY seq LIMIT 1) AS m) + \
             (SELECT count(*) FROM (SELECT 1 FROM outbox_deferred ORDER BY number LIMIT 1) AS d)",
        )
    }

    /// Neither deferred nor dead: no message was tried in vain.
    pub(crate) fn assert_nothing_failed(&self) {
        let counts =
            "SELECT (SELECT count(*) FROM outbox_deferred), (SELECT count(*) FROM outbox_dead_letters)";
        assert_eq!(self.query(counts), [["0", "0"]], "rows that are deferred, and dead");
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(words) = &self.place.remove {
            let _ = command(words).stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null()).status();
        }
    }
}

fn command(words: &[String]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}

/// Whether a client program runs and gets an answer to its first statement.
fn answers(client: &[String], sql: &str) -> bool {
    client::run(command(client), sql).is_ok()
}
