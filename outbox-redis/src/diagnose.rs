use outbox_core::{Finding, Topic};
use redis::aio::MultiplexedConnection;
use redis::streams::{StreamInfoGroup, StreamInfoGroupsReply};

use crate::durability::{self, Server};
use crate::link::Link;
use crate::{RedisConfig, RedisMode};

pub(crate) async fn run(link: &Link, config: &RedisConfig, topics: &[Topic]) -> Vec<Finding> {
    let connection = match link.connection().await {
        Ok(connection) => connection,
        Err(text) => return vec![unreachable(&text)],
    };
    let mut client = connection.client();
    let server = match durability::ask(&mut client).await {
        Ok(server) => server,
        Err(error) => return vec![unreachable(&format!("{}: {error}", config.endpoint.addresses()))],
    };
    let version = server.version.as_deref().unwrap_or("of an unknown version");
    let mut findings =
        vec![Finding::ok("Redis", format!("{version}, reachable at {}", config.endpoint.addresses()))];
    findings.extend(settings(&server, config));
    for topic in topics {
        findings.push(key(&mut client, config, topic).await);
        if config.mode == RedisMode::Stream {
            findings.extend(groups(&mut client, config, topic).await);
        }
    }
    findings
}

pub(crate) fn unreachable(text: &str) -> Finding {
    Finding::error("Redis", format!("it can't be reached at {text}"), "start it, or correct its URL")
}

fn settings(server: &Server, config: &RedisConfig) -> Vec<Finding> {
    let mut findings = server.risks();
    if findings.is_empty() {
        let fsync = server.appendfsync.as_deref().unwrap_or("an unknown policy");
        let detail = format!("appendonly, with appendfsync {fsync}, and nothing is evicted");
        findings.push(Finding::ok("durability", detail));
    }
    if server.appendfsync.as_deref() == Some("no") {
        let detail = "appendfsync is no: a power cut loses what the operating system had not written";
        findings.push(Finding::warning("appendfsync", detail, "CONFIG SET appendfsync everysec, or always"));
    }
    if server.maxmemory == Some(0) {
        let detail = "maxmemory is 0: a growing stream can take all of the machine's memory";
        findings.push(Finding::warning(
            "maxmemory",
            detail,
            "set maxmemory, so that a full Redis refuses instead",
        ));
    }
    if let Some(maxlen) = config.maxlen {
        let detail = format!("streams are trimmed to about {maxlen} entries, read or not");
        findings.push(Finding::warning("maxlen", detail, "leave maxlen out, and trim behind the groups"));
    }
    findings
}

/// The key of a topic. A missing one is made by the first message.
async fn key(client: &mut MultiplexedConnection, config: &RedisConfig, topic: &Topic) -> Finding {
    let key = format!("{}{topic}", config.prefix);
    let subject = format!("topic {topic}");
    let wanted = config.mode.as_str();
    let found: Result<String, _> = redis::cmd("TYPE").arg(&key).query_async(client).await;
    match found.as_deref() {
        Ok("none") => Finding::warning(
            subject,
            format!("the {wanted} {key:?} does not exist: nobody has read from it or written to it yet"),
            "nothing, if that is so; otherwise compare the name with that of the consumer",
        ),
        Ok(found) if found == wanted => Finding::ok(subject, format!("the {wanted} {key:?} exists")),
        Ok(found) => Finding::error(
            subject,
            format!("the key {key:?} is a {found}, not a {wanted}"),
            "choose the other mode, a prefix, or another topic",
        ),
        Err(error) => Finding::warning(subject, error.to_string(), "grant this user the key"),
    }
}

/// Who reads a stream, and how far each is. Nothing if there is none, or if this user may not ask.
async fn groups(client: &mut MultiplexedConnection, config: &RedisConfig, topic: &Topic) -> Vec<Finding> {
    let key = format!("{}{topic}", config.prefix);
    let found: Result<StreamInfoGroupsReply, _> =
        redis::cmd("XINFO").arg("GROUPS").arg(&key).query_async(client).await;
    let finding = |group: StreamInfoGroup| {
        // Redis before 7.0 does not count.
        let behind = group.lag.map_or_else(String::new, |lag| format!("{lag} entries behind, "));
        let detail = format!("{behind}{} unsettled, {} members", group.pending, group.consumers);
        Finding::ok(format!("group {} of topic {topic}", group.name), detail)
    };
    found.map(|found| found.groups.into_iter().map(finding).collect()).unwrap_or_default()
}
