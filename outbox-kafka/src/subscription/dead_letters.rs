use std::time::Duration;

use outbox_core::{
    DEAD_GROUP_HEADER, DEAD_REASON_HEADER, DEAD_TOPIC_HEADER, PublishError, SubscribeError, dead_reason,
};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep, timeout_at};

use super::KafkaSubscriptionConfig;
use super::held::Record;
use crate::batch::Doubt;
use crate::call::Call;
use crate::error::{Failure, Trouble, publish_error, subscribe_error};
use crate::link::Link;
use crate::producer;
use crate::topics::Topics;

/// The topic that takes what a group has given up. Its producer is started with the first dead letter.
pub(crate) struct DeadLetters {
    config: KafkaSubscriptionConfig,
    link: OnceCell<Link>,
    topics: Topics,
}

impl DeadLetters {
    const PATIENCE: Duration = Duration::from_secs(5);

    pub(crate) fn new(config: KafkaSubscriptionConfig) -> Self {
        let topics = Topics::new(config.cluster.clone(), config.creation);
        Self { config, link: OnceCell::new(), topics }
    }

    /// Returns when the record is there.
    pub(crate) async fn publish(&self, record: &Record, reason: &str) -> Result<(), SubscribeError> {
        self.try_publish(record, reason).await.map_err(|error| subscribe_error(Trouble::DeadLetter(error)))
    }

    async fn try_publish(&self, record: &Record, reason: &str) -> Result<(), PublishError> {
        let deadline = Instant::now() + Self::PATIENCE;
        let start = async || Link::new(self.config.dead_letters());
        let link = self.link.get_or_try_init(start).await;
        let link = link.map_err(|error| publish_error(Failure::NoClient(error)))?;
        let producer = timeout_at(deadline, link.producer()).await;
        let producer = producer.unwrap_or_else(|_| Err(publish_error(Failure::Lost)))?;
        let topic = self.config.options.dead_letters.as_str();
        let mut bad = self.topics.look(&producer, [topic].into_iter(), deadline.into_std()).await;
        if let Some(error) = bad.remove(topic) {
            return Err(error);
        }
        let mut doubt = Doubt::about(&producer);
        let call = Call::new(1);
        loop {
            let letter = producer::Record {
                topic,
                partition: None,
                payload: record.payload.as_deref(),
                key: record.envelope.key(),
                timestamp: record.envelope.timestamp().to_millis(),
                headers: Some(self.headers(record, reason)),
                delivery_opaque: call.ticket(0),
            };
            match producer.add(|client| client.send(letter).map_err(|(error, _)| error)) {
                Some(Ok(())) => break,
                Some(Err(KafkaError::MessageProduction(Code::QueueFull))) if Instant::now() < deadline => {
                    sleep(Duration::from_millis(1)).await;
                }
                Some(Err(error)) => {
                    let (code, size) = (error.rdkafka_error_code().unwrap_or(Code::Fail), 0);
                    return Err(publish_error(Failure::NotTaken { topic, code, size }));
                }
                None => return Err(publish_error(Failure::Lost)),
            }
        }
        let _ = timeout_at(deadline, call.finished()).await;
        let report = call.report(0);
        doubt.cleared = report.is_some();
        match report {
            Some(Ok(_)) => Ok(()),
            Some(Err(code)) => {
                self.topics.reported(topic, code);
                let size = record.payload.as_ref().map_or(0, bytes::Bytes::len);
                Err(publish_error(Failure::Report { topic, code, alone: true, size }))
            }
            None => Err(publish_error(Failure::NoReport { reason: producer.health().reason() })),
        }
    }

    /// The record's own headers, and why it is here.
    fn headers(&self, record: &Record, reason: &str) -> OwnedHeaders {
        let headers = record.envelope.headers().cloned().unwrap_or_default();
        let reason = dead_reason(reason);
        [
            (DEAD_REASON_HEADER, reason.as_str()),
            (DEAD_GROUP_HEADER, &self.config.options.group),
            (DEAD_TOPIC_HEADER, record.envelope.topic()),
        ]
        .into_iter()
        .fold(headers, |headers, (key, value)| headers.insert(Header { key, value: Some(value) }))
    }

    pub(crate) async fn close(&self) {
        if let Some(link) = self.link.get() {
            link.cut(true).await;
        }
    }
}
