use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, Info};
use async_nats::jetstream::{Context, context::GetStreamErrorKind};
use outbox_core::{Finding, PublishErrorKind, Topic};

use crate::NatsConfig;
use crate::codec::is_reserved;
use crate::connection::Connection;
use crate::stream::{self, Unasked, defect, risks, taken_by};

const BROKER: &str = "NATS";

/// Before this, a crash of the server could lose a whole stream.
const SOUND: (u32, u32, u32) = (2, 10, 23);

/// What a relay may wait between two tries of a message whose outcome is unknown.
const RETRY_HORIZON: Duration = NatsConfig::DUPLICATE_WINDOW;

pub(crate) fn unreachable(text: &str) -> Finding {
    Finding::error(BROKER, text, "start the server, or correct its URL, credentials or certificates")
}

pub(crate) async fn run(connection: &Connection, config: &NatsConfig, topics: &[Topic]) -> Vec<Finding> {
    let jetstream = &connection.jetstream;
    let mut findings = vec![server(connection, config)];
    if let Err(error) = stream::check_account(jetstream).await {
        if error.kind() == PublishErrorKind::Unavailable {
            return vec![unreachable(&error.to_string())];
        }
        findings.push(Finding::error("JetStream", error.to_string(), "enable it for this account"));
        return findings;
    }
    let mut streams: BTreeSet<String> = config.stream.iter().cloned().collect();
    let mut routes = Vec::new();
    for topic in topics {
        let (finding, stream) = route(jetstream, topic.as_str()).await;
        routes.push(finding);
        streams.extend(stream);
    }
    for name in &streams {
        findings.extend(stream(jetstream, config, name).await);
    }
    findings.extend(routes);
    findings
}

fn server(connection: &Connection, config: &NatsConfig) -> Finding {
    let info = connection.client.server_info();
    let encrypted = if config.endpoint.tls.required { ", encrypted" } else { "" };
    let detail = format!(
        "server {} reachable at {}{encrypted}, max_payload {} bytes",
        info.version,
        config.endpoint.addresses(),
        info.max_payload
    );
    if version(&info.version).is_some_and(|version| version < SOUND) {
        let detail = format!("{detail}; a crash of a server this old can lose a whole stream");
        return Finding::warning(BROKER, detail, "update the servers to 2.10.23 or newer");
    }
    Finding::ok(BROKER, detail)
}

fn version(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.split(['.', '-']).map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?))
}

/// Where a topic goes.
async fn route(jetstream: &Context, topic: &str) -> (Finding, Option<String>) {
    let subject = format!("topic {topic}");
    if is_reserved(topic) {
        let detail = "its name belongs to the NATS server; every message of it is refused";
        return (Finding::error(subject, detail, "give the topic another name"), None);
    }
    match taken_by(jetstream, topic).await {
        Ok(Some(stream)) => (Finding::ok(subject, format!("stream {stream} takes it")), Some(stream)),
        Ok(None) => {
            let detail = "no JetStream stream takes it; nothing can be published there";
            let remedy = format!("create a stream with the subject {topic}, or one that covers it");
            (Finding::error(subject, detail, remedy), None)
        }
        Err(error) => {
            let detail = match error {
                Unasked::Request(error) => format!("nobody says which stream takes it: {error}"),
                Unasked::JetStream(error) => format!("nobody says which stream takes it: {error}"),
            };
            (Finding::warning(subject, detail, "allow this user to publish to $JS.API.STREAM.NAMES"), None)
        }
    }
}

async fn stream(jetstream: &Context, config: &NatsConfig, name: &str) -> Vec<Finding> {
    let subject = format!("stream {name}");
    let found = match jetstream.get_stream(name).await {
        Ok(found) => found.cached_info().clone(),
        Err(error) if stream::is_missing(&error) => {
            let created = config.create && !config.subjects.is_empty();
            return vec![if created {
                Finding::ok(subject, "missing; the first message creates it")
            } else {
                Finding::error(subject, "it does not exist", "create it, or let create=true&subjects=… do so")
            }];
        }
        Err(error) => {
            let remedy = match error.kind() {
                GetStreamErrorKind::Request => {
                    format!("allow this user to publish to $JS.API.STREAM.INFO.{name}")
                }
                _ => "look at the server's log".to_owned(),
            };
            return vec![Finding::warning(subject, format!("it can't be asked for: {error}"), remedy)];
        }
    };
    judge(&subject, &found)
}

fn judge(subject: &str, found: &Info) -> Vec<Finding> {
    let config = &found.config;
    if let Some(problem) = defect(config) {
        return vec![Finding::error(subject, problem, "name a stream that takes and confirms messages")];
    }
    let mut findings = vec![Finding::ok(subject, settings(found))];
    let risks = risks(config).into_iter().map(|risk| (risk.detail.to_owned(), risk.remedy));
    let others = [window(config), copies(found), space(found)].into_iter().flatten();
    findings.extend(risks.chain(others).map(|(detail, remedy)| Finding::warning(subject, detail, remedy)));
    findings
}

fn settings(found: &Info) -> String {
    let config = &found.config;
    format!(
        "storage {:?}, {} of {} replicas, discard {:?}, retention {:?}, duplicate window {}, {} messages",
        config.storage,
        1 + found.cluster.as_ref().map_or(0, |cluster| cluster.replicas.iter().filter(|r| r.current).count()),
        config.num_replicas,
        config.discard,
        config.retention,
        humantime::format_duration(config.duplicate_window),
        found.state.messages
    )
    .to_lowercase()
}

fn window(config: &Config) -> Option<(String, &'static str)> {
    let window = config.duplicate_window;
    (window < RETRY_HORIZON).then(|| {
        let window = humantime::format_duration(window);
        let detail = format!(
            "drops second copies for {window} only: a message whose confirmation was lost may be tried again after \
             that, and is then there twice"
        );
        (detail, "duplicate_window of 2 minutes or more")
    })
}

fn copies(found: &Info) -> Option<(String, &'static str)> {
    let clustered = found.cluster.as_ref().is_some_and(|cluster| cluster.name.is_some());
    (clustered && found.config.num_replicas == 1).then(|| {
        let detail = "has one copy in a cluster: with its server it is gone".to_owned();
        (detail, "replicas 3")
    })
}

fn space(found: &Info) -> Option<(String, &'static str)> {
    let config = &found.config;
    let used = |used: u64, limit: i64| {
        u64::try_from(limit)
            .ok()
            .filter(|limit| *limit > 0)
            .map_or(0, |limit| used.saturating_mul(100) / limit)
    };
    let percent =
        used(found.state.messages, config.max_messages).max(used(found.state.bytes, config.max_bytes));
    (config.discard == DiscardPolicy::New && percent >= 80).then(|| {
        let detail = format!("is {percent} % full; a full stream refuses messages");
        (detail, "raise max_msgs and max_bytes, or have somebody read and remove what is there")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert_eq!(version("2.9.10"), Some((2, 9, 10)));
        assert_eq!(version("2.12.0-beta.1"), Some((2, 12, 0)));
        assert_eq!(version("unknown"), None);
        assert!(version("2.10.3").unwrap() < SOUND && version("2.11.0").unwrap() > SOUND);
    }
}
