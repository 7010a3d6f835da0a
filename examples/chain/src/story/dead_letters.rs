use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use async_nats::jetstream::consumer::pull;
use futures_util::StreamExt;
use lapin::options::BasicAckOptions;
use lapin::types::FieldTable;
use outbox::{DEAD_REASON_HEADER, DecodeError, MessageId, OutboxMessage};
use tokio::task::JoinSet;

use super::brokers::Brokers;
use crate::run::Run;
use crate::service::{billing, orders, shipping};

/// What a service has given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeadLetter {
    pub(super) service: &'static str,
    pub(super) event: String,
    pub(super) order: Option<i64>,
    pub(super) reason: String,
}

/// Reads the dead letters of all services while the story goes on, by the brokers' own clients: they are the messages
/// that they were, with a header that has the reason.
pub(super) struct DeadLetters {
    found: Found,
    _readers: JoinSet<()>,
}

/// By their id: whatever a broker delivers may come twice, also a dead letter.
type Found = Arc<Mutex<BTreeMap<MessageId, DeadLetter>>>;

impl DeadLetters {
    pub(super) async fn collect(run: &Run, brokers: &Brokers) -> Result<Self> {
        let (found, mut readers) = (Found::default(), JoinSet::new());
        for service in [orders::NAME, shipping::NAME] {
            let letters = brokers.read_rabbitmq(&run.dead_letters(service)).await?;
            readers.spawn(from_rabbitmq(service, letters, Arc::clone(&found)));
        }
        let letters = brokers.read_nats(&run.name, run.dead_letters(billing::NAME)).await?;
        readers.spawn(from_nats(billing::NAME, letters, Arc::clone(&found)));
        Ok(Self { found, _readers: readers })
    }

    fn found(&self) -> MutexGuard<'_, BTreeMap<MessageId, DeadLetter>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Orders that have one.
    pub(super) fn orders(&self) -> i64 {
        let found = self.found();
        let orders: BTreeSet<_> = found.values().filter_map(|letter| letter.order).collect();
        i64::try_from(orders.len()).unwrap_or(i64::MAX)
    }

    pub(super) fn all(&self) -> Vec<DeadLetter> {
        self.found().values().cloned().collect()
    }
}

/// Where one is not acknowledged it comes again, and is known.
async fn from_rabbitmq(service: &'static str, mut letters: lapin::Consumer, found: Found) {
    while let Some(Ok(letter)) = letters.next().await {
        let properties = &letter.properties;
        let headers = properties.headers().as_ref().map(FieldTable::inner);
        let reason = headers.and_then(|headers| headers.get(DEAD_REASON_HEADER)?.as_long_string());
        let reason = reason.map(ToString::to_string);
        let message = outbox::amqp::decode(letter.routing_key.as_str(), properties, letter.data.clone());
        keep(&found, service, message, reason);
        let _ = letter.ack(BasicAckOptions::default()).await;
    }
}

async fn from_nats(service: &'static str, mut letters: pull::Stream, found: Found) {
    while let Some(Ok(letter)) = letters.next().await {
        let headers = letter.headers.as_ref();
        let reason = headers.and_then(|headers| headers.get(DEAD_REASON_HEADER)).map(ToString::to_string);
        keep(&found, service, outbox::nats::decode(&letter), reason);
        let _ = letter.ack().await;
    }
}

fn keep(
    found: &Found,
    service: &'static str,
    message: Result<OutboxMessage, DecodeError>,
    reason: Option<String>,
) {
    let reason = reason.unwrap_or_else(|| "without a reason".to_owned());
    let (id, event, order) = match message {
        Ok(message) => {
            let order = message.ordering_key().and_then(|key| key.as_str().parse().ok());
            (*message.id(), message.event_type().to_owned(), order)
        }
        Err(error) => (MessageId::new(), error.to_string(), None),
    };
    let letter = DeadLetter { service, event, order, reason };
    found.lock().unwrap_or_else(PoisonError::into_inner).insert(id, letter);
}
