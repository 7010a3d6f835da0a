use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{
    DEAD_GROUP_HEADER, DEAD_REASON_HEADER, DEAD_TOPIC_HEADER, SubscribeOptions, Undecodable, dead_reason,
};
use redis::aio::MultiplexedConnection;
use redis::streams::{
    StreamAutoClaimReply, StreamClaimReply, StreamId, StreamPendingCountReply, StreamRangeReply,
    StreamReadReply,
};
use redis::{RedisResult, Value, cmd};
use uuid::Uuid;

use super::config::RedisSubscriptionConfig;
use super::source::{Item, Source, Token};
use crate::fields::{PAYLOAD, decode_entry};

/// How long a read waits for something new.
const MOMENT: Duration = Duration::from_secs(1);
/// What counts as idle for longer than anybody waits.
const FOR_AGES: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Entries that are looked at in one go.
const PAGE: usize = 100;

/// Streams, read by a consumer group. Each member is a consumer of a name of its own; what it does not settle stays
/// pending, and is claimed by another when it has been idle for too long.
pub(super) struct Streams {
    options: SubscribeOptions,
    keys: Vec<String>,
    dead_letters: String,
    consumer: String,
}

impl Streams {
    pub(super) fn new(config: &RedisSubscriptionConfig) -> Self {
        Self {
            keys: config.options.topics.iter().map(|topic| config.key(topic.as_str())).collect(),
            dead_letters: config.key(&config.options.dead_letters),
            options: config.options.clone(),
            consumer: format!("outbox-{}", Uuid::now_v7().simple()),
        }
    }

    fn item(&self, topic: usize, entry: StreamId, attempt: Option<u32>) -> Item {
        let name = self.options.topics[topic].as_str();
        let fields: Vec<(String, Vec<u8>)> = entry
            .map
            .into_iter()
            .filter_map(|(field, value)| Some((field, redis::from_redis_value(value).ok()?)))
            .collect();
        let decoded =
            decode_entry(name, fields.iter().map(|(field, value)| (field.as_str(), value.as_slice())));
        let message = decoded.map_err(|error| {
            let payload =
                fields.into_iter().find(|(field, _)| field == PAYLOAD).map(|(_, value)| value.into());
            Undecodable { topic: name.to_owned(), error, payload: payload.unwrap_or_default() }
        });
        Item { token: Token::Entry { topic, id: entry.id }, message, attempt }
    }

    /// What nobody in the group was given yet; with a time, the first of it.
    async fn read(
        &self,
        reader: &mut MultiplexedConnection,
        room: usize,
        wait: Option<Duration>,
    ) -> RedisResult<Vec<Item>> {
        let mut items = Vec::new();
        // The count is for each stream, so with several of them one command could bring more than there is room for.
        let alone: Vec<&String> = self.keys.iter().collect();
        let commands: Vec<&[&String]> =
            if wait.is_some() { vec![&alone[..]] } else { alone.chunks(1).collect() };
        for keys in commands {
            let left = room.saturating_sub(items.len());
            if left == 0 {
                break;
            }
            let mut read = cmd("XREADGROUP");
            read.arg("GROUP").arg(&self.options.group).arg(&self.consumer).arg("COUNT").arg(left);
            if let Some(wait) = wait {
                read.arg("BLOCK").arg(millis(wait));
            }
            read.arg("STREAMS").arg(keys);
            for _ in keys {
                read.arg(">");
            }
            let found: Option<StreamReadReply> = read.query_async(reader).await?;
            for stream in found.map(|found| found.keys).unwrap_or_default() {
                let topic = self.keys.iter().position(|key| *key == stream.key).unwrap_or_default();
                items.extend(stream.ids.into_iter().map(|entry| self.item(topic, entry, Some(1))));
            }
        }
        Ok(items)
    }

    /// How often each of these was handed out.
    async fn attempts(
        &self,
        client: &mut MultiplexedConnection,
        topic: usize,
        entries: &[StreamId],
    ) -> RedisResult<Vec<Option<u32>>> {
        let mut pipeline = redis::pipe();
        for entry in entries {
            pipeline.cmd("XPENDING").arg(&self.keys[topic]).arg(&self.options.group);
            pipeline.arg(&entry.id).arg(&entry.id).arg(1);
        }
        let counts: Vec<StreamPendingCountReply> = pipeline.query_async(client).await?;
        let count = |pending: &StreamPendingCountReply| {
            pending.ids.first().and_then(|pending| u32::try_from(pending.times_delivered).ok())
        };
        Ok(counts.iter().map(count).collect())
    }

    async fn items(
        &self,
        client: &mut MultiplexedConnection,
        topic: usize,
        entries: Vec<StreamId>,
    ) -> RedisResult<Vec<Item>> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let attempts = self.attempts(client, topic, &entries).await?;
        let pairs = entries.into_iter().zip(attempts);
        Ok(pairs.map(|(entry, attempt)| self.item(topic, entry, attempt)).collect())
    }

    /// Sets the idle time of entries of ours, without counting it as a delivery.
    fn set_idle(&self, topic: usize, ids: &[&str], idle: Duration) -> redis::Cmd {
        let mut claim = cmd("XCLAIM");
        claim.arg(&self.keys[topic]).arg(&self.options.group).arg(&self.consumer).arg(0).arg(ids);
        claim.arg("IDLE").arg(millis(idle)).arg("JUSTID");
        claim
    }

    async fn hand_back_topic(&self, client: &mut MultiplexedConnection, topic: usize) -> RedisResult<()> {
        let (key, group) = (&self.keys[topic], &self.options.group);
        let mut start = "-".to_owned();
        loop {
            let mut pending = cmd("XPENDING");
            pending.arg(key).arg(group).arg(&start).arg("+").arg(PAGE).arg(&self.consumer);
            let pending: StreamPendingCountReply = pending.query_async(client).await?;
            let ids: Vec<&str> = pending.ids.iter().map(|pending| pending.id.as_str()).collect();
            let Some(last) = ids.last() else { break };
            let _: Value = self.set_idle(topic, &ids, FOR_AGES).query_async(client).await?;
            start = format!("({last}");
        }
        if start == "-" {
            // It would go with its entries, so only where it has none.
            let mut delete = cmd("XGROUP");
            delete.arg("DELCONSUMER").arg(key).arg(group).arg(&self.consumer);
            let _: Value = delete.query_async(client).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Source for Streams {
    async fn prepare(&self, client: &mut MultiplexedConnection) -> RedisResult<()> {
        for key in &self.keys {
            let mut create = cmd("XGROUP");
            // From the first entry: what was published before the group existed is for it, too.
            create.arg("CREATE").arg(key).arg(&self.options.group).arg("0").arg("MKSTREAM");
            match create.query_async::<Value>(client).await {
                Err(error) if error.code() != Some("BUSYGROUP") => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    async fn fetch(&self, reader: &mut MultiplexedConnection, room: usize) -> RedisResult<Vec<Item>> {
        self.read(reader, room, None).await
    }

    async fn wait(&self, reader: &mut MultiplexedConnection) -> RedisResult<Vec<Item>> {
        self.read(reader, 1, Some(MOMENT)).await
    }

    async fn keep(&self, client: &mut MultiplexedConnection, delayed: &[Token]) -> RedisResult<()> {
        // What waits for its delay here must not be taken for abandoned.
        for token in delayed {
            if let Token::Entry { topic, id } = token {
                let _: Value = self.set_idle(*topic, &[id], Duration::ZERO).query_async(client).await?;
            }
        }
        Ok(())
    }

    async fn reclaim(&self, client: &mut MultiplexedConnection, room: usize) -> RedisResult<Vec<Item>> {
        let mut items = Vec::new();
        for (topic, key) in self.keys.iter().enumerate() {
            let left = room.saturating_sub(items.len());
            if left == 0 {
                break;
            }
            let mut claim = cmd("XAUTOCLAIM");
            claim.arg(key).arg(&self.options.group).arg(&self.consumer);
            claim.arg(millis(self.options.redeliver_after)).arg("0-0").arg("COUNT").arg(left);
            let claimed: StreamAutoClaimReply = claim.query_async(client).await?;
            if !claimed.deleted_ids.is_empty() {
                let count = claimed.deleted_ids.len();
                tracing::warn!(
                    "{count} entries of {key:?} were trimmed before {} settled them",
                    self.options.group
                );
            }
            items.extend(self.items(client, topic, claimed.claimed).await?);
        }
        Ok(items)
    }

    async fn again(&self, client: &mut MultiplexedConnection, token: &Token) -> RedisResult<Option<Item>> {
        let Token::Entry { topic, id } = token else { return Ok(None) };
        let mut claim = cmd("XCLAIM");
        claim.arg(&self.keys[*topic]).arg(&self.options.group).arg(&self.consumer).arg(0).arg(id);
        let claimed: StreamClaimReply = claim.query_async(client).await?;
        Ok(self.items(client, *topic, claimed.ids).await?.pop())
    }

    async fn ack(&self, client: &mut MultiplexedConnection, token: &Token) -> RedisResult<bool> {
        let Token::Entry { topic, id } = token else { return Ok(false) };
        let mut ack = cmd("XACK");
        ack.arg(&self.keys[*topic]).arg(&self.options.group).arg(id);
        // Where it was not pending any more, somebody has settled it, which is what was wanted.
        ack.query_async::<Value>(client).await.map(|_| true)
    }

    async fn bury(
        &self,
        client: &mut MultiplexedConnection,
        token: &Token,
        reason: &str,
    ) -> RedisResult<bool> {
        let Token::Entry { topic, id } = token else { return Ok(false) };
        let key = &self.keys[*topic];
        let mut range = cmd("XRANGE");
        // From the stream itself, so that nobody has to keep a second copy of every payload for this.
        let found: StreamRangeReply = range.arg(key).arg(id).arg(id).query_async(client).await?;
        let mut both = redis::pipe();
        both.atomic();
        if let Some(entry) = found.ids.into_iter().next() {
            both.cmd("XADD").arg(&self.dead_letters).arg("*");
            for (field, value) in entry.map {
                both.arg(field).arg(redis::from_redis_value::<Vec<u8>>(value)?);
            }
            both.arg(DEAD_REASON_HEADER).arg(dead_reason(reason));
            both.arg(DEAD_GROUP_HEADER).arg(&self.options.group);
            both.arg(DEAD_TOPIC_HEADER).arg(self.options.topics[*topic].as_str());
        } else {
            tracing::warn!(
                "entry {id} of {key:?} was trimmed before it could be given up: {}",
                dead_reason(reason)
            );
        }
        both.cmd("XACK").arg(key).arg(&self.options.group).arg(id);
        both.query_async::<Value>(client).await.map(|_| true)
    }

    async fn extend(&self, client: &mut MultiplexedConnection, token: &Token) -> RedisResult<bool> {
        let Token::Entry { topic, id } = token else { return Ok(false) };
        let mut pending = cmd("XPENDING");
        pending.arg(&self.keys[*topic]).arg(&self.options.group).arg(id).arg(id).arg(1).arg(&self.consumer);
        let ours: StreamPendingCountReply = pending.query_async(client).await?;
        if ours.ids.is_empty() {
            return Ok(false);
        }
        let _: Value = self.set_idle(*topic, &[id], Duration::ZERO).query_async(client).await?;
        Ok(true)
    }

    async fn hand_back(&self, client: &mut MultiplexedConnection) -> RedisResult<()> {
        for topic in 0..self.keys.len() {
            self.hand_back_topic(client, topic).await?;
        }
        Ok(())
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
