use std::any::type_name;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt as _;
use outbox_core::{MessageId, OutboxAdmin, OutboxMessage, OutboxStore};

/// What the store suite needs to know about an adapter: how to make an empty outbox, and how to write to it.
///
/// Every case gets a fixture of its own, so cases run at the same time and in any order.
#[async_trait]
pub trait StoreFixture: Send + Sync + Sized + 'static {
    /// The store under test.
    type Store: OutboxStore + OutboxAdmin;

    /// A fresh, migrated outbox that nobody else uses. `None` if the service it needs is not running here: a printed
    /// skip, or a failure where `OUTBOX_REQUIRE_SERVICES=1` is set.
    async fn new() -> Option<Self>;

    /// The store, on the outbox of this fixture.
    fn store(&self) -> Arc<Self::Store>;

    /// A store on an empty database (or schema) without any table, another one at each call.
    async fn unmigrated(&self) -> Arc<Self::Store>;

    /// Writes messages in a transaction of their own and commits it.
    async fn enqueue(&self, messages: &[OutboxMessage]) {
        let mut transaction = self.begin().await;
        transaction.enqueue(messages).await;
        transaction.commit().await;
    }

    /// Opens a producer's transaction, on a connection of its own.
    async fn begin(&self) -> Box<dyn FixtureTransaction>;

    /// Inserts a row as a program without this library would, and commits it. The error is the database's text, if its
    /// own checks refuse the row.
    async fn insert_raw(&self, row: RawRow) -> Result<(), String>;

    /// Removes what [`StoreFixture::new`] and [`StoreFixture::unmigrated`] made. Called once, also after a failed case.
    async fn cleanup(&self) {}
}

/// A producer's open transaction.
#[async_trait]
pub trait FixtureTransaction: Send {
    /// Writes messages, through the adapter's own writer.
    async fn enqueue(&mut self, messages: &[OutboxMessage]);

    /// Commits.
    async fn commit(self: Box<Self>);

    /// Rolls back.
    async fn rollback(self: Box<Self>);
}

/// A row that names these columns only; all others are left to the table's defaults.
#[derive(Debug, Clone)]
pub struct RawRow {
    /// Column `id`.
    pub id: MessageId,
    /// Column `topic`, unchecked.
    pub topic: String,
    /// Column `ordering_key`, if the insert is to name it.
    pub ordering_key: Option<String>,
    /// Column `payload`.
    pub payload: Bytes,
    /// Column `headers` as JSON text, if the insert is to name it.
    pub headers: Option<String>,
}

impl RawRow {
    /// A row of the three columns that have no default.
    #[must_use]
    pub fn new(topic: &str, payload: impl Into<Bytes>) -> Self {
        Self {
            id: MessageId::new(),
            topic: topic.to_owned(),
            ordering_key: None,
            payload: payload.into(),
            headers: None,
        }
    }

    /// With the text of its headers.
    #[must_use]
    pub fn with_headers(mut self, json: &str) -> Self {
        self.headers = Some(json.to_owned());
        self
    }
}

/// No case takes longer than this on a slow machine; one that does hangs.
const CASE_LIMIT: Duration = Duration::from_secs(120);

/// Passes on what a fixture could start. A missing service is a printed skip on a laptop, and a panic where
/// `OUTBOX_REQUIRE_SERVICES=1` says that all of them are there.
///
/// # Panics
///
/// If the service is missing and required.
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
pub fn started<T>(what: &str, fixture: Option<T>) -> Option<T> {
    if fixture.is_none() {
        let required = std::env::var("OUTBOX_REQUIRE_SERVICES").is_ok_and(|value| value == "1");
        assert!(!required, "the service of {what} is not running, and OUTBOX_REQUIRE_SERVICES=1");
        eprintln!("skipped: the service of {what} is not running");
    }
    fixture
}

/// Whether this is the compiler whose words a test of error messages expects. If not, a printed skip.
#[must_use]
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
pub fn compiler_is(version: &str) -> bool {
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let asked = std::process::Command::new(compiler).arg("--version").output();
    let text = asked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let same = text.starts_with(&format!("rustc {version}."));
    if !same {
        eprintln!("skipped: the messages are those of rustc {version}, and this is {text}");
    }
    same
}

/// Runs one case of the store suite on a fresh fixture, in a runtime of its own with two threads, so that races are
/// real; cleans up whatever happened.
///
/// # Panics
///
/// With the case, or if it does not end.
pub fn run_case<F, C, Fut>(case: C)
where
    F: StoreFixture,
    C: FnOnce(Arc<F>) -> Fut,
    Fut: Future<Output = ()>,
{
    case_runtime().block_on(async {
        let Some(fixture) = started(type_name::<F>(), F::new().await) else {
            return;
        };
        let fixture = Arc::new(fixture);
        let running = tokio::time::timeout(CASE_LIMIT, case(Arc::clone(&fixture)));
        let ended = AssertUnwindSafe(running).catch_unwind().await;
        fixture.cleanup().await;
        match ended {
            Ok(in_time) => in_time.expect("the case did not end in two minutes"),
            Err(panicked) => resume_unwind(panicked),
        }
    });
}

/// A runtime of its own for a case, with two threads, so that races are real.
pub(crate) fn case_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be built")
}

/// Runs a case, and cleans up whatever happened.
pub(crate) async fn run_to_end(
    case: impl Future<Output = ()> + Send + 'static,
    cleanup: impl Future<Output = ()>,
) {
    let ended = tokio::spawn(tokio::time::timeout(CASE_LIMIT, case)).await;
    cleanup.await;
    match ended {
        Ok(in_time) => in_time.expect("the case did not end in two minutes"),
        Err(panicked) => resume_unwind(panicked.into_panic()),
    }
}

/// What only some brokers have. A case that can't be carried out must be seen.
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
pub(crate) fn offered<T>(what: &str, thing: Option<T>) -> Option<T> {
    if thing.is_none() {
        eprintln!("skipped: this adapter has no {what}");
    }
    thing
}
