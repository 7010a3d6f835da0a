use std::sync::Arc;
use std::time::{Duration, Instant};

use outbox_core::{SubscribeError, SubscribeErrorKind};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{ClientContext, TopicPartitionList};
use tokio::sync::watch;

use super::held::Shared;
use crate::error::{Trouble, subscribe_error};
use crate::health::{self, Health};

/// A member of a group, on a thread of its own that reads, answers the group and stores positions, whatever the
/// deliveries take: nothing of librdkafka blocks the runtime.
pub(crate) struct Member {
    client: Arc<Client>,
    ended: watch::Receiver<Option<KafkaResult<()>>>,
}

pub(crate) type Client = BaseConsumer<Context>;

impl Member {
    const TICK: Duration = Duration::from_millis(50);
    /// How long reading may rest without the group noticing. After that, the partitions are paused: librdkafka drops
    /// then what it has fetched in advance, so it is not done for every moment without room.
    const REST: Duration = Duration::from_millis(300);

    /// How long the group may take to come to rest before the last positions are stored, or not.
    const LAST_COMMIT: Duration = Duration::from_secs(5);

    pub(crate) fn join(
        config: &ClientConfig,
        servers: &str,
        topics: &[&str],
        shared: &Arc<Shared>,
    ) -> KafkaResult<Self> {
        let context = Context { health: Health::new(servers), shared: Arc::clone(shared) };
        let client: Arc<Client> = Arc::new(config.create_with_context(context)?);
        client.subscribe(topics)?;
        let (end, ended) = watch::channel(None);
        let (served, shared) = (Arc::clone(&client), Arc::clone(shared));
        let thread = std::thread::Builder::new().name("outbox-kafka".to_owned());
        let spawned = thread.spawn(move || {
            serve(&served, &shared);
            let committed = commit(&served, &shared);
            // Leaves the group.
            drop(served);
            end.send_replace(Some(committed));
        });
        match spawned {
            Ok(_) => Ok(Self { client, ended }),
            Err(error) => Err(KafkaError::ClientCreation(format!("no thread can be started: {error}"))),
        }
    }

    /// For requests that block: never on a thread of the runtime.
    pub(crate) fn client(&self) -> Arc<Client> {
        Arc::clone(&self.client)
    }

    pub(crate) fn health(&self) -> &Health {
        &self.client.context().health
    }

    /// Waits until it has left the group, and says whether the last positions were stored. It must be told to stop
    /// before.
    pub(crate) async fn left(self) -> KafkaResult<()> {
        let Self { client, mut ended } = self;
        // The thread is to be the last to have it: what ends a client blocks.
        drop(client);
        match ended.wait_for(Option::is_some).await {
            Ok(committed) => committed.clone().unwrap_or(Ok(())),
            Err(_) => Err(KafkaError::Canceled),
        }
    }
}

fn serve(client: &Client, shared: &Shared) {
    let mut paused = None;
    let mut pace = Pace::default();
    while !shared.is_stopping() {
        store(client, shared);
        let room = shared.room(if paused.is_some() { Duration::ZERO } else { Member::REST });
        if room && paused.is_some() && pause(client, false) {
            paused = None;
        }
        // A partition that was assigned meanwhile is not paused yet.
        let epoch = shared.epoch();
        if !room && paused != Some(epoch) && pause(client, true) {
            paused = Some(epoch);
        }
        match client.poll(Member::TICK) {
            Some(Ok(message)) => {
                client.context().health.answered();
                shared.read(&message);
            }
            Some(Err(error)) => {
                if let Some(trouble) = trouble(client, &error)
                    && pace.allows(trouble.kind(), Instant::now())
                {
                    shared.trouble(trouble);
                }
            }
            None => {}
        }
    }
}

/// How often trouble is passed on: librdkafka repeats itself.
#[derive(Default)]
struct Pace(Option<Instant>);

impl Pace {
    const PAUSE: Duration = Duration::from_secs(1);

    fn allows(&mut self, kind: SubscribeErrorKind, now: Instant) -> bool {
        // Said once for each topic, and never again.
        if kind == SubscribeErrorKind::Missing {
            return true;
        }
        let allowed = self.0.is_none_or(|last| now.duration_since(last) >= Self::PAUSE);
        if allowed {
            self.0 = Some(now);
        }
        allowed
    }
}

/// `true` if it could be done.
fn pause(client: &Client, pause: bool) -> bool {
    let done =
        client.assignment().and_then(|list| if pause { client.pause(&list) } else { client.resume(&list) });
    done.is_ok()
}

/// librdkafka keeps a partition paused that is taken away while it is, also when it comes back later. Each assignment
/// begins without that; the thread pauses it again if there is no room yet.
fn unpause(client: &Client, list: &TopicPartitionList) {
    if let Err(error) = client.resume(list) {
        tracing::debug!("Kafka partitions can't be resumed: {error}");
    }
}

/// Hands the positions to librdkafka, which commits them soon, and before a partition is given away.
fn store(client: &Client, shared: &Shared) {
    let Some((positions, back)) = shared.moved() else {
        return;
    };
    let stored = client.store_offsets(&positions);
    // By itself, librdkafka commits only what is beyond what it has committed before.
    let done = if back { stored.and_then(|()| client.commit(&positions, CommitMode::Async)) } else { stored };
    if let Err(error) = done {
        tracing::debug!("Kafka positions can't be stored: {error}");
    }
}

fn commit(client: &Client, shared: &Shared) -> KafkaResult<()> {
    let deadline = Instant::now() + Member::LAST_COMMIT;
    loop {
        let positions = shared.positions()?;
        if positions.count() == 0 {
            return Ok(());
        }
        match client.commit(&positions, CommitMode::Sync) {
            Err(KafkaError::ConsumerCommit(Code::NoOffset)) => return Ok(()),
            Err(KafkaError::ConsumerCommit(Code::RebalanceInProgress)) if Instant::now() < deadline => {
                // The group is between two generations. Polling takes this member to the next one, with what is left to
                // it; nobody wants the messages any more.
                drop(client.poll(Member::TICK));
            }
            other => return other,
        }
    }
}

/// What `next` has to say about an error; `None` if it passes.
fn trouble(client: &Client, error: &KafkaError) -> Option<SubscribeError> {
    let code = error.rdkafka_error_code()?;
    let health = &client.context().health;
    match code {
        Code::AllBrokersDown
        | Code::Resolve
        | Code::SSL
        | Code::Authentication
        | Code::SaslAuthenticationFailed => {
            let reason = health.reason().unwrap_or_else(|| code.to_string());
            Some(subscribe_error(Trouble::Unreachable { servers: health.servers(), reason }))
        }
        Code::UnknownTopicOrPartition
        | Code::UnknownTopic
        | Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::InconsistentGroupProtocol
        | Code::InvalidSessionTimeout
        | Code::InvalidGroupId => Some(subscribe_error(Trouble::Group { topic: None, code })),
        _ => None,
    }
}

/// Receives what librdkafka has to say.
pub(crate) struct Context {
    health: Health,
    shared: Arc<Shared>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        health::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.health.report(&error, reason);
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, client: &Client, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                unpause(client, list);
                self.shared.assigned(list);
            }
            Rebalance::Revoke(list) => {
                store(client, &self.shared);
                self.shared.revoked(list);
            }
            Rebalance::Error(error) => tracing::warn!("Kafka group: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_topic_is_passed_on_however_much_trouble_there_is() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert!(pace.allows(SubscribeErrorKind::Unavailable, now));
        assert!(!pace.allows(SubscribeErrorKind::Refused, now));
        assert!(pace.allows(SubscribeErrorKind::Missing, now));
        assert!(pace.allows(SubscribeErrorKind::Missing, now));
        assert!(pace.allows(SubscribeErrorKind::Unavailable, now + Pace::PAUSE));
    }
}
