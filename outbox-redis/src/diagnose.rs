use outbox_core::{Finding, Topic};
use redis::RedisResult;
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
        Ok("none" | "list") if config.mode == RedisMode::List => queue(client, &key, subject).await,
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

/// A list that was emptied is gone, so what tells is who takes from it: consumers say that they live.
async fn queue(client: &mut MultiplexedConnection, key: &str, subject: String) -> Finding {
    match depth(client, key).await {
        Ok((waiting, 0)) => Finding::warning(
            subject,
            format!("{waiting} elements wait in the list {key:?}, and no consumer takes from it"),
            "start one, or compare the name with that of the consumer; one that takes from the list with another client is \
             not seen here",
        ),
        Ok((waiting, consumers)) => Finding::ok(
            subject,
            format!("{waiting} elements wait in the list {key:?}, and {consumers} consumers take from it"),
        ),
        Err(error) => Finding::warning(
            subject,
            format!("who takes from the list {key:?} is not known: {error}"),
            format!("grant this user LLEN on {key} and ZCOUNT on {key}:members"),
        ),
    }
}

/// How many elements wait, and how many members have given a sign of life that is not over, by the server's clock.
async fn depth(client: &mut MultiplexedConnection, key: &str) -> RedisResult<(u64, u64)> {
    let waiting = redis::cmd("LLEN").arg(key).query_async(client).await?;
    let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(client).await?;
    let (members, now) = (format!("{key}:members"), seconds * 1_000 + micros / 1_000);
    let consumers = redis::cmd("ZCOUNT").arg(members).arg(now).arg("+inf").query_async(client).await?;
    Ok((waiting, consumers))
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
