use std::sync::Arc;
use std::time::Duration;

use outbox_core::{Finding, PublishError, Topic};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, ResourceSpecifier};
use rdkafka::error::KafkaResult;
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::task::spawn_blocking;

use crate::health::Quiet;

/// What the brokers say about a topic.
type Answer = (Topic, Result<Metadata, PublishError>);

/// The findings about the brokers and about each topic.
pub(crate) async fn findings(
    reached: Result<(), PublishError>,
    answers: Vec<Answer>,
    config: &ClientConfig,
    patience: Duration,
) -> Vec<Finding> {
    if let Err(error) = reached {
        return vec![Finding::error("kafka", error.to_string(), "start the brokers, or correct the URL")];
    }
    let mut findings = vec![Finding::ok("kafka", "reachable")];
    let mut there = Vec::new();
    for (topic, answer) in &answers {
        let subject = format!("topic {topic}");
        match answer {
            Ok(metadata) => match metadata.topics().iter().find(|found| found.name() == topic.as_str()) {
                Some(found) => {
                    let existence = existence(&subject, found);
                    if existence.remedy.is_none() {
                        there.push((topic.as_str(), copies(found)));
                    }
                    findings.push(existence);
                    findings.extend(replicas(&subject, found));
                }
                None => findings.push(missing(&subject)),
            },
            Err(error) => findings.push(Finding::error(
                subject,
                error.to_string(),
                "choose a name that Kafka takes, or mend the connection",
            )),
        }
    }
    let names: Vec<&str> = there.iter().map(|(name, _)| *name).collect();
    let described = describe(config, &names, patience).await;
    for (place, (name, copies)) in there.iter().enumerate() {
        let subject = format!("topic {name}");
        let entries = described.as_ref().map_err(Clone::clone).and_then(|all| match all.get(place) {
            Some(Ok(resource)) => Ok(resource),
            Some(Err(code)) => Err(code.to_string()),
            None => Err("no answer".to_owned()),
        });
        match entries {
            Ok(resource) => findings.extend(settings(&subject, *copies, |name| value(resource, name))),
            Err(problem) => findings.push(untold(&subject, &problem)),
        }
    }
    findings
}

fn existence(subject: &str, topic: &MetadataTopic) -> Finding {
    match topic.error().map(Code::from) {
        None if topic.partitions().is_empty() => missing(subject),
        None => {
            let copies = match copies(topic) {
                1 => "1 copy".to_owned(),
                more => format!("{more} copies"),
            };
            Finding::ok(subject, format!("{} partition(s), {copies}", topic.partitions().len()))
        }
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => missing(subject),
        Some(Code::TopicAuthorizationFailed) => Finding::error(
            subject,
            "this user may not see it",
            "grant DESCRIBE and WRITE, or READ to a consumer",
        ),
        Some(code) => Finding::error(subject, code.to_string(), "look at the brokers' logs"),
    }
}

fn missing(subject: &str) -> Finding {
    Finding::error(subject, "does not exist", "create it, or let create=true do so")
}

fn copies(topic: &MetadataTopic) -> usize {
    topic.partitions().iter().map(|partition| partition.replicas().len()).min().unwrap_or(0)
}

fn replicas(subject: &str, topic: &MetadataTopic) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !topic.partitions().is_empty() && copies(topic) < 2 {
        findings.push(Finding::warning(
            subject,
            "has a partition with a single copy: the loss of a disk loses confirmed messages",
            "use a replication factor of 3 with min.insync.replicas=2",
        ));
    }
    let lagging =
        topic.partitions().iter().filter(|found| found.isr().len() < found.replicas().len()).count();
    if lagging > 0 {
        findings.push(Finding::warning(
            subject,
            format!("{lagging} partition(s) have copies that lag behind"),
            "look after the brokers that are down or slow",
        ));
    }
    let headless = topic.partitions().iter().filter(|partition| partition.leader() < 0).count();
    if headless > 0 {
        findings.push(Finding::error(
            subject,
            format!("{headless} partition(s) have no leader and take no messages"),
            "start the brokers that hold them",
        ));
    }
    findings
}

/// What of a topic's settings loses, delays or refuses messages.
fn settings(subject: &str, copies: usize, value: impl Fn(&str) -> Option<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut untold_names = Vec::new();
    let mut look = |name: &'static str| {
        let found = value(name);
        if found.is_none() {
            untold_names.push(name);
        }
        found
    };
    let insync = look("min.insync.replicas").and_then(|number| number.parse::<usize>().ok());
    let unclean = look("unclean.leader.election.enable");
    let policy = look("cleanup.policy");
    if copies > 1 && insync == Some(1) {
        findings.push(Finding::warning(
            subject,
            "min.insync.replicas is 1: a message counts as stored when one copy has it",
            "set min.insync.replicas=2",
        ));
    }
    if insync.is_some_and(|insync| insync > copies) {
        findings.push(Finding::error(
            subject,
            "min.insync.replicas is larger than the number of copies: no message is ever taken",
            "lower min.insync.replicas, or add copies",
        ));
    }
    if unclean.as_deref() == Some("true") {
        findings.push(Finding::warning(
            subject,
            "unclean.leader.election.enable is true: a copy that lags behind may take over and lose messages",
            "set unclean.leader.election.enable=false",
        ));
    }
    if policy.is_some_and(|policy| policy.split(',').any(|part| part.trim() == "compact")) {
        findings.push(Finding::warning(
            subject,
            "is compacted: of each key only the last message stays, and messages without a key are refused",
            "set cleanup.policy=delete, unless the last message of a key is all that consumers need",
        ));
    }
    if !untold_names.is_empty() {
        findings.push(untold(subject, &format!("not told: {}", untold_names.join(", "))));
    }
    findings
}

fn untold(subject: &str, problem: &str) -> Finding {
    Finding::warning(
        subject,
        format!("its settings can't be read ({problem})"),
        "check min.insync.replicas, unclean.leader.election.enable and cleanup.policy by hand, or grant DESCRIBE_CONFIGS",
    )
}

fn value(resource: &ConfigResource, name: &str) -> Option<String> {
    resource.get(name).and_then(|entry| entry.value.clone())
}

type Described = Result<Vec<Result<ConfigResource, Code>>, String>;

async fn describe(config: &ClientConfig, topics: &[&str], patience: Duration) -> Described {
    if topics.is_empty() {
        return Ok(Vec::new());
    }
    let admin: KafkaResult<AdminClient<Quiet>> = config.create_with_context(Quiet);
    let admin = Arc::new(admin.map_err(|_| "the client can't be started".to_owned())?);
    let resources: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
    let options = AdminOptions::new().request_timeout(Some(patience));
    let described = admin.describe_configs(&resources, &options).await;
    // Ending the client waits for its threads.
    spawn_blocking(move || drop(admin));
    described.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use outbox_core::Severity;

    use super::*;

    fn severities(copies: usize, entries: &[(&str, &str)]) -> Vec<Severity> {
        let value = |name: &str| {
            entries.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        settings("topic t", copies, value).iter().map(|finding| finding.severity).collect()
    }

    #[test]
    fn settings_that_lose_messages_are_named() {
        let good = [
            ("min.insync.replicas", "2"),
            ("unclean.leader.election.enable", "false"),
            ("cleanup.policy", "delete"),
        ];
        let with = |place: usize, value: &'static str| {
            let mut entries = good;
            entries[place].1 = value;
            entries
        };
        assert_eq!(severities(3, &good), []);
        assert_eq!(severities(3, &with(0, "1")), [Severity::Warning]);
        assert_eq!(severities(1, &with(0, "1")), []);
        assert_eq!(severities(1, &good), [Severity::Error]);
        assert_eq!(severities(3, &with(1, "true")), [Severity::Warning]);
        assert_eq!(severities(3, &with(2, "compact, delete")), [Severity::Warning]);
        assert_eq!(severities(3, &good[..1]), [Severity::Warning]);
    }
}
