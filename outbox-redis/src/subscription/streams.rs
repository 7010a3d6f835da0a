use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{DEAD_GROUP_HEADER, DEAD_REASON_HEADER, DEAD_TOPIC_HEADER, SubscribeOptions, dead_reason};
use redis::aio::MultiplexedConnection;
use redis::streams::StreamPendingCountReply;
use redis::{RedisResult, Value, cmd};

use super::config::RedisSubscriptionConfig;
use super::entry::{Claimed, Entries, Entry, Read};
use super::group::{Group, PAGE};
use super::source::{Item, Source, Token, millis};

/// Streams, read by a consumer group. What a member does not settle stays pending, and is claimed by another when it has
/// been idle for too long.
pub(super) struct Streams {
    options: SubscribeOptions,
    keys: Vec<String>,
    dead_letters: String,
    group: Group,
    /// Which topic is the first to be asked next time, so that a busy one does not keep the others waiting.
    turn: AtomicUsize,
}

impl Streams {
    pub(super) fn new(config: &RedisSubscriptionConfig) -> Self {
        Self {
            keys: config.options.topics.iter().map(|topic| config.key(topic.as_str())).collect(),
            dead_letters: config.key(&config.options.dead_letters),
            group: Group::new(&config.options.group),
            options: config.options.clone(),
            turn: AtomicUsize::new(0),
        }
    }

    fn item(&self, topic: usize, entry: Entry, attempt: Option<u32>) -> Item {
        let token = Token::Entry { topic, id: entry.id.clone() };
        Item { token, message: entry.message(self.options.topics[topic].as_str()), attempt }
    }

    /// What nobody in the group was given yet. The count of the command is for each stream, so it can only be bounded
    /// over all of them by asking for one stream at a time, or for one entry of each.
    async fn read(
        &self,
        reader: &mut MultiplexedConnection,
        keys: &[String],
        count: usize,
        wait: Option<Duration>,
    ) -> RedisResult<Vec<Item>> {
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP").arg(&self.group.name).arg(&self.group.consumer).arg("COUNT").arg(count);
        if let Some(wait) = wait {
            // Never 0, which would be for ever.
            read.arg("BLOCK").arg(millis(wait).max(1));
        }
        read.arg("STREAMS").arg(keys);
        for _ in keys {
            read.arg(">");
        }
        let found: Read = read.query_async(reader).await?;
        let mut items = Vec::new();
        for (stream, Entries(entries)) in found {
            let topic = self.keys.iter().position(|key| key.as_bytes() == stream).unwrap_or_default();
            items.extend(entries.into_iter().map(|entry| self.item(topic, entry, Some(1))));
        }
        Ok(items)
    }

    /// How often each of these was handed out.
    async fn attempts(
        &self,
        client: &mut MultiplexedConnection,
        topic: usize,
        entries: &[Entry],
    ) -> RedisResult<Vec<Option<u32>>> {
        let mut pipeline = redis::pipe();
        for entry in entries {
            pipeline.cmd("XPENDING").arg(&self.keys[topic]).arg(&self.group.name);
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
        entries: Vec<Entry>,
    ) -> RedisResult<Vec<Item>> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let attempts = self.attempts(client, topic, &entries).await?;
        let pairs = entries.into_iter().zip(attempts);
        Ok(pairs.map(|(entry, attempt)| self.item(topic, entry, attempt)).collect())
    }
}

#[async_trait]
impl Source for Streams {
    fn width(&self) -> usize {
        self.keys.len()
    }

    async fn prepare(&self, client: &mut MultiplexedConnection) -> RedisResult<()> {
        for key in &self.keys {
            self.group.create(client, key).await?;
        }
        Ok(())
    }

    async fn fetch(&self, reader: &mut MultiplexedConnection, room: usize) -> RedisResult<Vec<Item>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.keys.len();
        let mut items = Vec::new();
        for key in self.keys[turn..].iter().chain(&self.keys[..turn]) {
            if items.len() < room {
                let key = std::slice::from_ref(key);
                items.extend(self.read(reader, key, room - items.len(), None).await?);
            }
        }
        Ok(items)
    }

    async fn wait(&self, reader: &mut MultiplexedConnection, moment: Duration) -> RedisResult<Vec<Item>> {
        self.read(reader, &self.keys, 1, Some(moment)).await
    }

    async fn keep(&self, client: &mut MultiplexedConnection, waiting: &[Token]) -> RedisResult<()> {
        for (topic, key) in self.keys.iter().enumerate() {
            let of_topic = waiting.iter().filter_map(|token| match token {
                Token::Entry { topic: other, id } if *other == topic => Some(id.as_str()),
                _ => None,
            });
            let ids: Vec<&str> = of_topic.collect();
            for page in ids.chunks(PAGE) {
                self.group.keep(client, key, page).await?;
            }
        }
        Ok(())
    }

    async fn reclaim(&self, client: &mut MultiplexedConnection, room: usize) -> RedisResult<Vec<Item>> {
        let mut items = Vec::new();
        for (topic, key) in self.keys.iter().enumerate() {
            // To the end: behind many entries that others are working on, one may be abandoned.
            let mut start = "0-0".to_owned();
            while items.len() < room {
                let mut claim = cmd("XAUTOCLAIM");
                claim.arg(key).arg(&self.group.name).arg(&self.group.consumer);
                claim.arg(millis(self.options.redeliver_after)).arg(&start);
                claim.arg("COUNT").arg((room - items.len()).min(PAGE));
                let claimed: Claimed = claim.query_async(client).await?;
                if claimed.deleted > 0 {
                    let (count, group) = (claimed.deleted, &self.group.name);
                    tracing::warn!("{count} entries of {key:?} were trimmed before {group} settled them");
                }
                items.extend(self.items(client, topic, claimed.entries).await?);
                start = claimed.next;
                if start == "0-0" {
                    break;
                }
            }
        }
        Ok(items)
    }

    async fn again(&self, client: &mut MultiplexedConnection, token: &Token) -> RedisResult<Option<Item>> {
        let Token::Entry { topic, id } = token else { return Ok(None) };
        let Entries(claimed) = self.group.again(client, &self.keys[*topic], id).await?;
        Ok(self.items(client, *topic, claimed).await?.pop())
    }

    async fn ack(&self, client: &mut MultiplexedConnection, token: &Token) -> RedisResult<bool> {
        let Token::Entry { topic, id } = token else { return Ok(false) };
        let mut ack = cmd("XACK");
        ack.arg(&self.keys[*topic]).arg(&self.group.name).arg(id);
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
        let Entries(found) = range.arg(key).arg(id).arg(id).query_async(client).await?;
        let reason = dead_reason(reason);
        if let Some(entry) = found.into_iter().next() {
            let mut add = cmd("XADD");
            add.arg(&self.dead_letters).arg("*");
            // Of an earlier death, if these are dead letters that are read again.
            let earlier = [DEAD_REASON_HEADER, DEAD_GROUP_HEADER, DEAD_TOPIC_HEADER].map(str::as_bytes);
            for (field, value) in entry.fields {
                if !earlier.contains(&&*field) {
                    add.arg(field).arg(value);
                }
            }
            add.arg(DEAD_REASON_HEADER).arg(reason);
            add.arg(DEAD_GROUP_HEADER).arg(&self.group.name);
            add.arg(DEAD_TOPIC_HEADER).arg(self.options.topics[*topic].as_str());
            // Not in one transaction with what follows: that would be carried out also if this is refused.
            add.query_async::<Value>(client).await?;
        } else {
            tracing::warn!("entry {id} of {key:?} was trimmed before it could be given up: {reason}");
        }
        self.ack(client, token).await
    }

    async fn extend(&self, client: &mut MultiplexedConnection, token: &Token) -> RedisResult<bool> {
        let Token::Entry { topic, id } = token else { return Ok(false) };
        Ok(self.group.keep(client, &self.keys[*topic], &[id]).await? == 1)
    }

    async fn hand_back(&self, client: &mut MultiplexedConnection) -> RedisResult<()> {
        for key in &self.keys {
            match self.group.leave(client, key).await {
                // Somebody has deleted the stream, and there is nothing to give back.
                Err(error) if error.code() == Some("NOGROUP") => {}
                done => done?,
            }
        }
        Ok(())
    }
}
