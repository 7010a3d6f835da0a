use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use outbox_core::PublishError;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::KafkaResult;
use rdkafka::metadata::Metadata;
use rdkafka::producer::Producer as _;
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::task::spawn_blocking;

use crate::cluster::Cluster;
use crate::config::Creation;
use crate::error::{Failure, publish_error};
use crate::health::{Health, Quiet};
use crate::producer::{Client, Producer};

/// Which topics there are. A record is not handed to librdkafka before its topic was seen: librdkafka would keep it for
/// half a minute, and some brokers would create the topic.
pub(crate) struct Topics {
    cluster: Cluster,
    creation: Creation,
    /// With the number of their partitions.
    known: Mutex<HashMap<Box<str>, usize>>,
    /// Topics that a broker has refused to take messages for, and until when it is not asked again: with gapless order,
    /// each refusal costs a producer.
    refused: Mutex<HashMap<Box<str>, (Instant, Code)>>,
}

/// The topics of a batch that can't be published to, and why.
pub(crate) type Bad<'a> = HashMap<&'a str, PublishError>;

impl Topics {
    const REFUSED_FOR: Duration = Duration::from_secs(5);

    pub(crate) fn new(cluster: Cluster, creation: Creation) -> Self {
        Self { cluster, creation, known: Mutex::default(), refused: Mutex::default() }
    }

    /// Looks at topics, at the brokers only for those that were not seen before, or if none has answered since they
    /// were lost.
    pub(crate) async fn look<'a>(
        &self,
        producer: &Producer,
        topics: impl Iterator<Item = &'a str>,
        deadline: Instant,
    ) -> Bad<'a> {
        let mut bad = Bad::new();
        let mut unknown = Vec::new();
        {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            let down = producer.health().is_down();
            let mut last = None;
            for topic in topics {
                // A batch is mostly for one topic.
                if last.replace(topic) == Some(topic) || bad.contains_key(topic) || unknown.contains(&topic) {
                    continue;
                }
                match refused.get(topic) {
                    Some((until, code)) if *until > Instant::now() => {
                        bad.insert(topic, publish_error(Failure::Topic { topic, code: *code }));
                    }
                    _ if down || !known.contains_key(topic) => unknown.push(topic),
                    _ => {}
                }
            }
        }
        if !unknown.is_empty() {
            self.ask(producer, unknown, deadline, &mut bad).await;
        }
        bad
    }

    /// A name of a topic that was seen, to ask for instead of all that there are.
    pub(crate) fn any(&self) -> Option<String> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).keys().next().map(|name| name.to_string())
    }

    /// A report has spoken about a topic.
    pub(crate) fn reported(&self, topic: &str, code: Code) {
        match code {
            Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
                self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(topic);
            }
            Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed | Code::InvalidTopic => {
                let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
                refused.retain(|_, (until, _)| *until > Instant::now());
                refused.insert(topic.into(), (Instant::now() + Self::REFUSED_FOR, code));
            }
            _ => {}
        }
    }

    async fn ask<'a>(&self, producer: &Producer, topics: Vec<&'a str>, deadline: Instant, bad: &mut Bad<'a>) {
        let patience = deadline.saturating_duration_since(Instant::now()).min(self.cluster.connect_timeout);
        let names: Vec<String> = topics.iter().map(|&topic| topic.to_owned()).collect();
        let (client, deadline) = (producer.client(), Instant::now() + patience);
        let answers = spawn_blocking(move || ask(&client, &names, deadline)).await.unwrap_or_default();
        let mut answers = answers.into_iter();
        for topic in topics {
            match answers.next().unwrap_or(Err(Code::OperationTimedOut)) {
                Ok(Standing::There { partitions }) => self.found(topic, partitions),
                Ok(Standing::Not(Code::UnknownTopicOrPartition | Code::UnknownTopic))
                    if self.creation.allowed =>
                {
                    if let Err(error) = self.create(producer, topic, deadline).await {
                        bad.insert(topic, error);
                    }
                }
                Ok(Standing::Not(code)) => {
                    bad.insert(topic, publish_error(Failure::Topic { topic, code }));
                }
                Err(code) => {
                    bad.insert(topic, self.unreachable(producer.health(), code));
                }
            }
        }
    }

    async fn create(&self, producer: &Producer, topic: &str, deadline: Instant) -> Result<(), PublishError> {
        let config = self.cluster.client_config();
        create(&config, topic, self.creation, deadline)
            .await
            .map_err(|problem| publish_error(Failure::Creation { topic, problem }))?;
        // A broker that has created it may not know it yet.
        let (client, name) = (producer.client(), topic.to_owned());
        match spawn_blocking(move || wait_for(&client, &name, deadline)).await {
            Ok(Some(partitions)) => {
                self.found(topic, partitions);
                Ok(())
            }
            _ => Err(publish_error(Failure::Topic { topic, code: Code::LeaderNotAvailable })),
        }
    }

    fn found(&self, topic: &str, partitions: usize) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(topic.into(), partitions);
    }

    /// How many partitions a topic has, as far as is known.
    pub(crate) fn partitions(&self, topic: &str) -> usize {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(topic).copied().unwrap_or(usize::MAX)
    }

    pub(crate) fn unreachable(&self, health: &Health, code: Code) -> PublishError {
        let (servers, reason) = (self.cluster.servers(), self.cluster.reason(health, code));
        publish_error(Failure::Unreachable { servers, reason })
    }
}

pub(crate) enum Standing {
    There { partitions: usize },
    Not(Code),
}

/// One answer per name, until a broker is silent: the rest needs no answer then.
fn ask(client: &Client, names: &[String], deadline: Instant) -> Vec<Result<Standing, Code>> {
    let mut answers = Vec::with_capacity(names.len());
    for name in names {
        let answer = metadata(client, Some(name), deadline).map(|metadata| standing(&metadata, name));
        let silent = answer.is_err();
        answers.push(answer);
        if silent {
            break;
        }
    }
    answers
}

/// What the brokers say, of a topic or of all. Blocks.
pub(crate) fn metadata(client: &Client, topic: Option<&str>, deadline: Instant) -> Result<Metadata, Code> {
    let patience = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let code = |error: rdkafka::error::KafkaError| error.rdkafka_error_code().unwrap_or(Code::Unknown);
    let metadata = client.client().fetch_metadata(topic, patience).map_err(code)?;
    client.context().health.answered();
    Ok(metadata)
}

pub(crate) fn standing(metadata: &Metadata, name: &str) -> Standing {
    match metadata.topics().iter().find(|topic| topic.name() == name) {
        None => Standing::Not(Code::UnknownTopicOrPartition),
        Some(topic) => match topic.error() {
            Some(error) => Standing::Not(error.into()),
            None if topic.partitions().is_empty() => Standing::Not(Code::LeaderNotAvailable),
            None => Standing::There { partitions: topic.partitions().len() },
        },
    }
}

fn wait_for(client: &Client, name: &str, deadline: Instant) -> Option<usize> {
    loop {
        let found = metadata(client, Some(name), deadline).map(|metadata| standing(&metadata, name));
        if let Ok(Standing::There { partitions }) = found {
            return Some(partitions);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Creates a topic; one that is there already is left as it is. The error says why not.
pub(crate) async fn create(
    config: &ClientConfig,
    topic: &str,
    creation: Creation,
    deadline: Instant,
) -> Result<(), String> {
    let admin: KafkaResult<AdminClient<Quiet>> = config.create_with_context(Quiet);
    let admin = Arc::new(admin.map_err(|error| error.to_string())?);
    let patience = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let options = AdminOptions::new().request_timeout(Some(patience)).operation_timeout(Some(patience));
    let new = NewTopic::new(topic, creation.partitions, TopicReplication::Fixed(creation.replication));
    let created = admin.create_topics([&new], &options).await;
    // Ending the client waits for its threads.
    spawn_blocking(move || drop(admin));
    match created.map_err(|error| error.to_string())?.into_iter().next() {
        Some(Err((_, code))) if code != Code::TopicAlreadyExists => Err(code.to_string()),
        _ => Ok(()),
    }
}
