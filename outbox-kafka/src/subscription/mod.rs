mod config;
mod consumer;
mod dead_letters;
mod held;
mod missing;
mod partition;
mod receipt;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{
    BrokerConfigError, Delivery, SubscribeError, Subscription, SubscriptionCapabilities, Topic, Undecodable,
};
use rdkafka::Message as _;
use rdkafka::consumer::Consumer as _;
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until, timeout};

pub use config::KafkaSubscriptionConfig;
use consumer::Member;
use dead_letters::DeadLetters;
use held::{Found, Held, Shared};
use receipt::KafkaReceipt;

use crate::codec::decode_with;
use crate::error::{Trouble, client_error, subscribe_error};
use crate::topics;

/// Receives from Kafka as a member of a consumer group. See the [crate] for what goes where.
pub struct KafkaSubscription {
    config: KafkaSubscriptionConfig,
    shared: Arc<Shared>,
    dead_letters: Arc<DeadLetters>,
    /// `None` when it is closed.
    member: Option<Member>,
}

impl KafkaSubscription {
    /// A member of a group from a URL; `KafkaSubscriptionConfig` has the list of its parameters. Tries once to reach
    /// the brokers, and only logs if that fails: they may come up later.
    ///
    /// # Errors
    ///
    /// [`BrokerConfigError`] if the URL is wrong; never because of the brokers.
    ///
    /// # Cancel safety
    ///
    /// Yes; topics may have been created.
    pub async fn connect(url: &str) -> Result<Self, BrokerConfigError> {
        let mut subscription = Self::new(url.parse()?)?;
        if let Err(error) = subscription.check().await {
            tracing::warn!("the Kafka subscription is not ready yet: {error}");
        }
        Ok(subscription)
    }

    /// A member that joins its group behind the scenes.
    ///
    /// # Errors
    ///
    /// [`BrokerConfigError`] if a value is out of its range, or librdkafka refuses it.
    pub fn new(config: KafkaSubscriptionConfig) -> Result<Self, BrokerConfigError> {
        let config = config.checked()?;
        let shared = Shared::new(config.options.prefetch, config.creation.allowed);
        let topics: Vec<&str> = config.options.topics.iter().map(Topic::as_str).collect();
        let member = Member::join(&config.consumer(), config.cluster.servers(), &topics, &shared);
        Ok(Self {
            shared,
            member: Some(member.map_err(client_error)?),
            dead_letters: Arc::new(DeadLetters::new(config.clone())),
            config,
        })
    }

    fn delivery(&self, held: Held) -> Delivery {
        let (record, source) = (&held.record, held.source());
        let payload = record.payload.clone().unwrap_or_default();
        let message = decode_with(&record.envelope, payload.clone()).map_err(|error| {
            let topic = record.envelope.topic().to_owned();
            Undecodable { topic, error, payload }
        });
        let receipt = KafkaReceipt {
            shared: self.shared.clone(),
            dead_letters: self.dead_letters.clone(),
            held: Some(held),
            redeliver_after: self.config.options.redeliver_after,
        };
        Delivery::new(message, None, Box::new(receipt)).from_source(source)
    }

    async fn create_missing(&mut self) -> Result<(), SubscribeError> {
        let checked = self.check().await;
        self.shared.tried();
        checked
    }

    /// Creates what is missing, if that was asked for.
    async fn create(&self, topic: &str) -> Result<(), SubscribeError> {
        let deadline = std::time::Instant::now() + self.config.cluster.connect_timeout;
        topics::create(&self.config.cluster.client_config(), topic, self.config.creation, deadline)
            .await
            .map_err(|problem| subscribe_error(Trouble::Creation { topic, problem }))
    }
}

#[async_trait]
impl Subscription for KafkaSubscription {
    fn capabilities(&self) -> SubscriptionCapabilities {
        SubscriptionCapabilities::new("kafka")
            .counts_deliveries(false)
            .partitioned(true)
            .fan_out(true)
            .redeliver_after(Some(self.config.session()))
            .prefetch(self.config.options.prefetch)
    }

    async fn next(&mut self) -> Result<Delivery, SubscribeError> {
        loop {
            match self.shared.find() {
                Found::Delivery(held) => return Ok(self.delivery(held)),
                Found::Missing => self.create_missing().await?,
                Found::Trouble(error) => return Err(error),
                Found::Closed => return Err(subscribe_error(Trouble::Closed)),
                Found::Nothing(None) => self.shared.arrived.notified().await,
                Found::Nothing(Some(due)) => {
                    tokio::select! {
                        () = self.shared.arrived.notified() => {}
                        () = sleep_until(Instant::from_std(due)) => {}
                    }
                }
            }
        }
    }

    async fn check(&mut self) -> Result<(), SubscribeError> {
        let Some(member) = &self.member else {
            return Err(subscribe_error(Trouble::Closed));
        };
        let missing = self.shared.missing();
        for topic in &self.config.options.topics {
            let (client, name) = (member.client(), topic.as_str().to_owned());
            let patience = self.config.cluster.connect_timeout;
            let asked = spawn_blocking(move || {
                let metadata = client.fetch_metadata(Some(&name), patience);
                let metadata = metadata.map_err(|error| error.rdkafka_error_code().unwrap_or(Code::Fail))?;
                Ok(topics::standing(&metadata, &name))
            });
            let standing = asked.await.unwrap_or(Err(Code::Fail)).map_err(|code| {
                let cluster = &self.config.cluster;
                let (servers, reason) = (cluster.servers(), cluster.reason(member.health(), code));
                subscribe_error(Trouble::Unreachable { servers, reason })
            })?;
            match standing {
                topics::Standing::There { .. } => {}
                topics::Standing::Not(Code::UnknownTopicOrPartition | Code::UnknownTopic)
                    if self.config.creation.allowed =>
                {
                    self.create(topic.as_str()).await?;
                }
                topics::Standing::Not(code) => {
                    return Err(subscribe_error(Trouble::Group { topic: Some(topic.as_str()), code }));
                }
            }
        }
        self.shared.found_all(missing);
        Ok(())
    }

    async fn close(&mut self, time: Duration) -> Result<(), SubscribeError> {
        self.shared.stop();
        let Some(member) = self.member.take() else {
            return Ok(());
        };
        let end = async {
            let left = member.left().await;
            self.dead_letters.close().await;
            left
        };
        match timeout(time, end).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
                Err(subscribe_error(Trouble::NotCommitted(code)))
            }
            Err(_) => Err(subscribe_error(Trouble::CloseTimedOut)),
        }
    }
}

impl Drop for KafkaSubscription {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl fmt::Debug for KafkaSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSubscription").field("config", &self.config).finish_non_exhaustive()
    }
}
