use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig,
};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientContext, Message as _};
use tokio::sync::watch;

use crate::call::Ticket;
use crate::health::{self, Health};
use crate::standing::Standing;

/// One producer of librdkafka, which is never repaired: when it has failed or was given up, it is gone with everything
/// that it still held.
///
/// librdkafka sends what waits in its queue for as long as it lives, also for callers that have long given up. Ending a
/// producer closes its gate, so that nothing is added any more, drops queue and requests, and closes its connections.
/// Only what the operating system had already taken can still arrive.
pub(crate) struct Producer {
    client: Arc<BaseProducer<Context>>,
    gate: Arc<Gate>,
    ended: watch::Receiver<()>,
    /// Bytes of a batch at most, as it was told.
    pub(crate) batch_bytes: usize,
    pub(crate) standing: Standing,
}

pub(crate) type Record<'a> = BaseRecord<'a, [u8], [u8], Box<Ticket>>;
pub(crate) type Client = BaseProducer<Context>;

/// Records are added under its lock, so that the batch of one call is queued in its order, and none behind the end.
#[derive(Debug, Default)]
struct Gate {
    lock: Mutex<()>,
    closed: AtomicBool,
}

impl Producer {
    /// How long the thread of a producer sleeps at most before it looks whether it is to end.
    const TICK: Duration = Duration::from_millis(25);

    pub(crate) fn start(config: &ClientConfig, servers: &str, batch_bytes: usize) -> KafkaResult<Self> {
        let context = Context { health: Health::new(servers) };
        let client: Arc<Client> = Arc::new(config.create_with_context(context)?);
        let gate = Arc::<Gate>::default();
        let (alive, ended) = watch::channel(());
        let (served, watched) = (Arc::clone(&client), Arc::clone(&gate));
        let thread = std::thread::Builder::new().name("outbox-kafka".to_owned());
        let spawned = thread.spawn(move || {
            serve(served, &watched);
            drop(alive);
        });
        match spawned {
            Ok(_) => Ok(Self { client, gate, ended, batch_bytes, standing: Standing::default() }),
            Err(error) => Err(KafkaError::ClientCreation(format!("no thread can be started: {error}"))),
        }
    }

    pub(crate) fn health(&self) -> &Health {
        &self.client.context().health
    }

    /// For requests that are not records, and block: never on a thread of the runtime.
    pub(crate) fn client(&self) -> Arc<Client> {
        Arc::clone(&self.client)
    }

    pub(crate) fn is_up(&self) -> bool {
        !self.gate.closed.load(Ordering::Acquire) && !self.health().is_fatal()
    }

    /// Runs `add` with the client, while nobody else adds; `None` if it has ended.
    pub(crate) fn add<T>(&self, add: impl FnOnce(&Client) -> T) -> Option<T> {
        let _held = self.gate.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_up().then(|| add(&self.client))
    }

    /// Makes it end soon. Nothing is added from now on.
    pub(crate) fn stop(&self) {
        if !self.gate.closed.load(Ordering::Acquire) {
            let _held = self.gate.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.gate.closed.store(true, Ordering::Release);
        }
    }

    /// Ends it: afterwards nothing can leave this process through it any more.
    pub(crate) async fn end(&self) {
        self.stop();
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The life of a producer, on a thread of its own: reports are handed out, and what blocks blocks nobody.
fn serve(client: Arc<Client>, gate: &Gate) {
    while !gate.closed.load(Ordering::Acquire) {
        client.poll(Producer::TICK);
    }
    client.purge(PurgeConfig::default().queue().inflight());
    // The reports of what was dropped.
    let deadline = Instant::now() + Duration::from_millis(500);
    while client.in_flight_count() > 0 && Instant::now() < deadline {
        client.poll(Duration::from_millis(5));
    }
}

/// Receives what librdkafka has to say.
pub(crate) struct Context {
    pub(crate) health: Health,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        health::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.health.report(&error, reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let report = match result {
            Ok(record) => {
                self.health.answered();
                Ok(record.partition())
            }
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)),
        };
        ticket.settle(report);
    }
}
