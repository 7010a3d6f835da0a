//! What a server would lose.

use outbox_core::Finding;
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value};

/// The largest value that a server takes if it does not say otherwise.
pub(crate) const DEFAULT_LIMIT: usize = 512 * 1024 * 1024;

/// What a server has told about itself. What it did not want to tell is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) version: Option<String>,
    pub(crate) role: Option<String>,
    pub(crate) appendonly: Option<bool>,
    pub(crate) appendfsync: Option<String>,
    pub(crate) maxmemory: Option<u64>,
    pub(crate) policy: Option<String>,
    pub(crate) largest_value: Option<usize>,
}

/// Asks the server, in one round trip. What this user may not see is left out.
pub(crate) async fn ask(client: &mut MultiplexedConnection) -> RedisResult<Server> {
    let mut pipeline = redis::pipe();
    // As far as possible from INFO: services that run Redis for others forbid CONFIG.
    for section in ["server", "replication", "persistence", "memory"] {
        pipeline.cmd("INFO").arg(section);
    }
    for setting in ["appendfsync", "proto-max-bulk-len"] {
        pipeline.cmd("CONFIG").arg("GET").arg(setting);
    }
    let answers = client.send_packed_commands(&pipeline, 0, 6).await?;
    let info = |index: usize, name: &str| {
        let text: String = redis::from_redis_value(answers.get(index)?.clone()).ok()?;
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(|value| value.trim().to_owned()))
    };
    let config = |index: usize| match answers.get(index)? {
        Value::Array(pair) => redis::from_redis_value::<String>(pair.get(1)?.clone()).ok(),
        _ => None,
    };
    Ok(Server {
        version: info(0, "redis_version"),
        role: info(1, "role"),
        appendonly: info(2, "aof_enabled").map(|enabled| enabled == "1"),
        maxmemory: info(3, "maxmemory").and_then(|text| text.parse().ok()),
        policy: info(3, "maxmemory_policy"),
        appendfsync: config(4),
        largest_value: config(5).and_then(|text| text.parse().ok()),
    })
}

impl Server {
    /// What loses confirmed messages.
    pub(crate) fn risks(&self) -> Vec<Finding> {
        let mut risks = Vec::new();
        let mut risk = |subject: &str, detail: &str, remedy: &str| {
            risks.push(Finding::warning(subject, detail, remedy));
        };
        if self.role.as_deref() == Some("slave") {
            risk("role", "it is a replica, which takes no messages", "connect to the primary");
        }
        match self.appendonly {
            Some(true) => {}
            Some(false) => risk(
                "appendonly",
                "it is off: a restart loses everything since the last snapshot",
                "CONFIG SET appendonly yes, and the same in redis.conf",
            ),
            None => risk(
                "appendonly",
                "this user may not see whether it is on (INFO is forbidden)",
                "grant INFO, or ask whoever runs the server whether appendonly is on and maxmemory-policy noeviction",
            ),
        }
        if let Some(policy) = self.policy.as_deref()
            && policy.starts_with("allkeys-")
        {
            risk(
                "maxmemory-policy",
                &format!("{policy}: a full server drops confirmed messages without a word"),
                "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf",
            );
        }
        risks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_loses_messages_is_named() {
        let good = Server {
            role: Some("master".to_owned()),
            appendonly: Some(true),
            policy: Some("noeviction".to_owned()),
            ..Server::default()
        };
        assert!(good.risks().is_empty());
        let subjects = |change: fn(&mut Server)| {
            let mut server = good.clone();
            change(&mut server);
            server.risks().into_iter().map(|risk| risk.subject).collect::<Vec<_>>()
        };
        assert_eq!(subjects(|server| server.appendonly = Some(false)), ["appendonly"]);
        assert_eq!(subjects(|server| server.appendonly = None), ["appendonly"]);
        assert_eq!(subjects(|server| server.policy = Some("allkeys-lru".to_owned())), ["maxmemory-policy"]);
        assert_eq!(subjects(|server| server.role = Some("slave".to_owned())), ["role"]);
    }
}
