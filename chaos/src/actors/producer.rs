use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use outbox::{MessageError, MessageId, OutboxMessage};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, MissedTickBehavior, interval};
use uuid::Uuid;

use super::VERSION;
use crate::brokers::{BrokerKind, TOPICS};
use crate::stores::StoreKind;

/// A transaction that takes longer is dropped, with its connection.
pub(crate) const TRANSACTION_LIMIT: Duration = Duration::from_secs(3);
/// Accounts beside the one that everybody writes to.
const ACCOUNTS: usize = 40;
const HOT: &str = "hot";

/// The names of all accounts; each is an ordering key.
pub(crate) fn accounts() -> impl Iterator<Item = String> {
    std::iter::once(HOT.to_owned()).chain((0..ACCOUNTS).map(|number| format!("account-{number:02}")))
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ProducerSettings {
    pub(crate) store: StoreKind,
    pub(crate) database: String,
    pub(crate) transport: BrokerKind,
    pub(crate) seed: u64,
    /// Transactions in a second, of all tasks together.
    pub(crate) rate: u32,
    /// Tasks that write at the same time, each by a connection of its own.
    pub(crate) writers: u32,
    /// What becomes of each transaction, as the process was told.
    pub(crate) journal: PathBuf,
}

/// A transaction to be made.
pub(crate) struct Draft {
    pub(crate) rows: Vec<DraftRow>,
    /// How long it lasts with its rows written and its locks held.
    pub(crate) pause: Duration,
    pub(crate) rolls_back: bool,
}

pub(crate) struct DraftRow {
    pub(crate) id: Uuid,
    /// Whose order it has.
    pub(crate) account: Option<String>,
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    /// The broker will not take it.
    pub(crate) refused: bool,
}

impl DraftRow {
    pub(crate) fn message(&self, version: i64) -> Result<OutboxMessage, MessageError> {
        let message = OutboxMessage::bytes(&self.topic, self.payload.clone())?
            .id(MessageId::from_uuid(self.id))
            .header(VERSION, version.to_string());
        match &self.account {
            Some(account) => message.ordering_key(account).build(),
            None => message.build(),
        }
    }
}

/// The transactions of one task, as many as there is time for.
pub(crate) struct Drafts {
    random: fastrand::Rng,
    transport: BrokerKind,
    pace: tokio::time::Interval,
    journal: tokio::fs::File,
}

/// Works in all tasks until the process is killed, or nobody is there any more who has started it.
pub(crate) async fn produce(
    settings: ProducerSettings,
    work: impl AsyncFn(String, Drafts) -> Result<()>,
) -> Result<()> {
    let mut tasks = Vec::new();
    for number in 0..settings.writers {
        let mut pace = interval(Duration::from_secs(1) * settings.writers / settings.rate.max(1));
        pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let journal = tokio::fs::OpenOptions::new().create(true).append(true).open(&settings.journal).await?;
        // Each life of the process does something else.
        let seed = settings.seed ^ u64::from(std::process::id()) << 16 ^ u64::from(number);
        let random = fastrand::Rng::with_seed(seed);
        let drafts = Drafts { random, transport: settings.transport, pace, journal };
        tasks.push(work(settings.database.clone(), drafts));
    }
    tokio::select! {
        ended = futures_util::future::try_join_all(tasks) => ended.map(drop),
        () = super::orphaned() => Ok(()),
    }
}

impl Drafts {
    /// The next transaction, when it is its turn.
    pub(crate) async fn next(&mut self) -> Option<Draft> {
        self.pace.tick().await;
        let mut rows: Vec<DraftRow> = (0..self.random.usize(1..=4)).map(|_| self.row()).collect();
        // All take their locks in the same order.
        rows.sort_by(|one, other| one.account.cmp(&other.account));
        let pause = match self.random.u8(..100) {
            0..4 => self.random.u64(50..600),
            4..12 => self.random.u64(1..30),
            _ => 0,
        };
        let rolls_back = self.random.u8(..100) < 15;
        let draft = Draft { rows, pause: Duration::from_millis(pause), rolls_back };
        // A journal that can't be written is not a reason to go on.
        self.note(&draft, "begins").await.ok()?;
        Some(draft)
    }

    fn row(&mut self) -> DraftRow {
        let id = Uuid::now_v7();
        let size = if self.random.u8(..20) == 0 { 3_000 } else { self.random.usize(20..300) };
        let mut payload = vec![0; size];
        self.random.fill(&mut payload);
        if self.random.u8(..100) < 2 {
            let (topic, size) = self.transport.refuses();
            payload.resize(size.max(payload.len()), 0);
            return DraftRow { id, account: None, topic: topic.to_owned(), payload, refused: true };
        }
        let number = match self.random.u8(..100) {
            0..15 => None,
            15..35 => Some(0),
            _ => Some(self.random.usize(1..=ACCOUNTS)),
        };
        // A key stays with its topic: across topics only some brokers have an order.
        let topic = TOPICS[number.unwrap_or_else(|| self.random.usize(..2)) % 2].to_owned();
        let account = number.and_then(|number| accounts().nth(number));
        DraftRow { id, account, topic, payload, refused: false }
    }

    /// What became of it, as the process was told.
    pub(crate) async fn ended(&mut self, draft: &Draft, how: &str) -> Result<()> {
        self.note(draft, how).await
    }

    /// It failed: nobody knows whether it was committed. Not at once again, while the database is away.
    pub(crate) async fn failed(&mut self, draft: &Draft, error: &str) -> Result<()> {
        self.note(draft, &format!("failed: {}", error.replace('\n', " "))).await?;
        tokio::time::sleep_until(Instant::now() + Duration::from_millis(100)).await;
        Ok(())
    }

    async fn note(&mut self, draft: &Draft, what: &str) -> Result<()> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis();
        let ids: Vec<String> = draft.rows.iter().map(|row| row.id.simple().to_string()).collect();
        let line = format!("{now} {} {what}\n", ids.join(","));
        // In one piece: other tasks write to the same file.
        self.journal.write_all(line.as_bytes()).await?;
        self.journal.flush().await?;
        Ok(())
    }
}
