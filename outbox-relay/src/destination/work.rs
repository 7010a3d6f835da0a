use std::collections::{BTreeMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use futures_util::FutureExt;
use outbox_core::{
    Claim, ClaimRequest, ClaimSource, Fence, KeyHold, LateCommitMark, OperatorRequest, OrderingKey,
    OutboxStore, Outcome, PublishError, RelayId, RowId, Scope, Seq, Settled, ShardId, ShardSet, StoreError,
    Transport,
};
use tracing::{Instrument, Span};

use super::Lease;
use super::entry::{Batch, Results, Settlement};
use super::late::{self, Late};
use super::reader::Look;
use crate::metrics::Path;
use crate::store_call::within;
use crate::trace::Published;

/// A read, whatever asked for it.
#[derive(Debug, Clone)]
pub(crate) enum Job {
    /// Where the reader wants to look.
    Look(Look),
    /// What waits behind others in these keys.
    Held { keys: Vec<OrderingKey> },
    /// The keys of these shards that do not flow: of those that are being gained, by these leases, or else of all.
    Holds { shards: ShardSet, gaining: BTreeMap<ShardId, Lease> },
}

/// What a read found.
#[derive(Debug)]
pub(crate) enum Found {
    Rows {
        claim: Claim,
        holds: Vec<KeyHold>,
    },
    /// Much was committed below the cursor since it passed: all of it is to be read, from this row on.
    Late {
        first: Seq,
    },
    Seqs(Vec<Seq>),
    Mark(LateCommitMark),
    Over(bool),
    NextDue(Option<Duration>),
    Requests(Vec<OperatorRequest>),
    Holds(Vec<KeyHold>),
}

/// Something that ended.
pub(crate) enum Event {
    Read { job: Job, found: Result<Found, StoreError> },
    Settled { settlements: Vec<Settlement>, settled: Result<Settled, StoreError> },
    Published { batch: Batch, results: Results, published: Published },
    Checked { result: Result<(), PublishError> },
}

pub(crate) struct ReadOrder {
    pub(crate) store: Arc<dyn OutboxStore>,
    pub(crate) scope: Scope,
    pub(crate) job: Job,
    pub(crate) limit: usize,
    pub(crate) max_bytes: usize,
    pub(crate) page: usize,
    pub(crate) max_held_keys: usize,
    /// Not all held keys are in memory: look up those of the rows that were read.
    pub(crate) look_up_holds: bool,
    /// For a look forward: the fresh rows in memory between the low mark and the cursor.
    pub(crate) known: HashSet<Seq, RandomState>,
    /// Of all rows in memory.
    pub(crate) bytes_in_memory: usize,
}

pub(crate) const REQUESTS_PER_READ: usize = 100;

pub(crate) async fn read(order: ReadOrder, limit: Duration) -> Event {
    let found = within(limit, "read", look(&order)).await;
    Event::Read { job: order.job, found }
}

async fn look(order: &ReadOrder) -> Result<Found, StoreError> {
    let ReadOrder { store, scope, limit, max_bytes, page, .. } = order;
    let source = match &order.job {
        Job::Look(Look::Fresh { after, .. }) => ClaimSource::Fresh { after: *after },
        Job::Look(Look::Due { after }) => ClaimSource::Due { after: *after },
        Job::Held { keys } => ClaimSource::Held { keys: keys.clone(), after: 0 },
        Job::Look(Look::Sweep { after, upto } | Look::Backstop { after, upto }) => {
            return store.scan(scope, *after, *upto, *page).await.map(Found::Seqs);
        }
        Job::Look(Look::Mark) => return store.mark_late_commits().await.map(Found::Mark),
        Job::Look(Look::MarkOver { mark }) => return store.late_commits_over(mark).await.map(Found::Over),
        Job::Look(Look::NextDue) => return store.next_due(scope).await.map(Found::NextDue),
        Job::Look(Look::Requests) => {
            return store.requests(scope, REQUESTS_PER_READ).await.map(Found::Requests);
        }
        Job::Holds { shards, .. } => {
            let scope = Scope { shards: *shards, topics: scope.topics.clone() };
            return store.holds(&scope, None, order.max_held_keys).await.map(Found::Holds);
        }
    };
    let request = ClaimRequest { scope: scope.clone(), source, limit: *limit, max_bytes: *max_bytes };
    let at_once = match &order.job {
        Job::Look(Look::Fresh { after, low: Some(low) }) => late::at_once(order, *low, *after).await?,
        _ => None,
    };
    let looked_back = at_once.is_some();
    let mut claim = match at_once {
        Some(claim) => claim,
        None => store.claim(&request).await?,
    };
    if let Job::Look(Look::Fresh { after, low: Some(low) }) = &order.job
        && !looked_back
        && claim.rows.iter().any(|row| row.message.ordering_key().is_some())
    {
        match late::committed(order, *low, *after).await? {
            Late::Rows(rows) => drop(claim.rows.splice(..0, rows)),
            Late::Many { first } => return Ok(Found::Late { first }),
        }
    }
    let mut holds = Vec::new();
    if order.look_up_holds && !matches!(order.job, Job::Held { .. }) {
        let mut keys: Vec<_> =
            claim.rows.iter().filter_map(|row| row.message.ordering_key().cloned()).collect();
        keys.sort_unstable();
        keys.dedup();
        if !keys.is_empty() {
            holds = store.holds(scope, Some(&keys), keys.len()).await?;
        }
    }
    Ok(Found::Rows { claim, holds })
}

pub(crate) async fn settle(
    store: Arc<dyn OutboxStore>,
    relay: RelayId,
    settlements: Vec<Settlement>,
    limit: Duration,
) -> Event {
    let mut shards: Vec<_> =
        settlements.iter().map(|settlement| (settlement.shard, settlement.epoch)).collect();
    shards.sort_unstable();
    shards.dedup();
    let outcomes: Vec<(RowId, Outcome)> =
        settlements.iter().map(|settlement| (settlement.row, settlement.outcome.clone())).collect();
    let fence = Fence { relay, shards };
    let settled = within(limit, "settle", store.settle(&fence, &outcomes)).await;
    Event::Settled { settlements, settled }
}

/// How long a client may take to forget what it holds back.
const RESET_TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) async fn publish(
    transport: Arc<dyn Transport>,
    name: &'static str,
    batch: Batch,
    timeout: Duration,
    span: Span,
) -> Event {
    #[cfg(outbox_sabotage)]
    if outbox_core::sabotage::is("settle-before-ack") {
        let (sent, messages) = (Arc::clone(&transport), batch.messages.clone());
        tokio::spawn(async move { sent.publish(&messages).await });
        let results = (0..batch.len()).map(|_| Ok(())).collect();
        return Event::Published { batch, results, published: Published::begins(Path::Relayed)() };
    }
    let publishing = transport.publish(&batch.messages).instrument(span.clone());
    let publishing = AssertUnwindSafe(publishing).catch_unwind();
    let ended = Published::begins(Path::Relayed);
    let mut results = match tokio::time::timeout(timeout, publishing).await {
        Ok(Ok(results)) => results,
        Ok(Err(_panic)) => unknown(batch.len(), "the transport panicked"),
        Err(_elapsed) => unknown(batch.len(), "the broker did not answer in time"),
    };
    if results.len() < batch.len() {
        results.extend(unknown(batch.len() - results.len(), "the transport gave no result"));
    }
    let published = ended();
    published.trace(&span, &batch.messages, &results, name);
    let is_unknown = |result: &Result<(), PublishError>| matches!(result, Err(error) if error.kind() == outbox_core::PublishErrorKind::Unknown);
    if results.iter().any(is_unknown) {
        // Before the rows can be given to anyone else: what the client still holds back must not arrive later.
        let reset = AssertUnwindSafe(transport.reset()).catch_unwind();
        if !matches!(tokio::time::timeout(RESET_TIMEOUT, reset).await, Ok(Ok(()))) {
            tracing::warn!(transport = transport.capabilities().name, "the client could not be reset");
        }
    }
    Event::Published { batch, results, published }
}

pub(crate) async fn check(transport: Arc<dyn Transport>, timeout: Duration) -> Event {
    let checking = AssertUnwindSafe(transport.check()).catch_unwind();
    let result = match tokio::time::timeout(timeout, checking).await {
        Ok(Ok(result)) => result,
        Ok(Err(_panic)) => Err(PublishError::unavailable("the transport panicked")),
        Err(_elapsed) => Err(PublishError::unavailable("the broker did not answer in time")),
    };
    Event::Checked { result }
}

fn unknown(count: usize, text: &str) -> Results {
    (0..count).map(|_| Err(PublishError::unknown(text))).collect()
}
