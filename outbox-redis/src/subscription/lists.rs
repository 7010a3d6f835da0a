use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use outbox_core::{SubscribeOptions, Undecodable};
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value, cmd};
use uuid::Uuid;

use super::config::RedisSubscriptionConfig;
use super::source::{Item, Source, Token, millis};
use crate::event::{buried, decode_element};

/// For how long the hands of a member are looked at after its last sign of life. A command of a member that was frozen or
/// cut off may be carried out long after everybody has given it up, and put an element there.
const GRACE: Duration = Duration::from_secs(60 * 60);

/// Now, in milliseconds, by the server's clock.
const NOW: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)";

/// Says that a member lives. Key: the members; arguments: its name, for how long.
const LIVE: &str = "redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])";

/// Takes elements from the end of a queue into a member's hands. Keys: the queue, the hands; argument: how many.
const TAKE: &str = "
local taken = {}
for i = 1, ARGV[1] do
  local element = redis.call('LMOVE', KEYS[1], KEYS[2], 'RIGHT', 'LEFT')
  if not element then break end
  taken[i] = element
end
return taken";

/// Puts back what members have in their hands whose time is over, so that the oldest is next again.
/// Keys: the members, the queue; arguments: what the key of their hands begins with, the grace.
const REAP: &str = "
local count = 0
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)) do
  while redis.call('LMOVE', ARGV[1] .. member, KEYS[2], 'LEFT', 'RIGHT') do count = count + 1 end
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
return count";

/// Puts back what a member has in its hands, and says that its time is over.
/// Keys: the members, the queue, its hands; argument: its name.
const LEAVE: &str = "
while redis.call('LMOVE', KEYS[3], KEYS[2], 'LEFT', 'RIGHT') do end
redis.call('ZADD', KEYS[1], now, ARGV[1])";

/// Takes an element out of a member's hands, and puts another one among the dead letters if it was there.
/// Keys: its hands, the counts of attempts, the dead letters; arguments: the element, its id, the dead letter.
const SETTLE: &str = "
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then return 0 end
if ARGV[2] ~= '' then redis.call('HDEL', KEYS[2], ARGV[2]) end
if ARGV[3] then redis.call('LPUSH', KEYS[3], ARGV[3]) end
return 1";

/// Lists, as queues of jobs. A member takes an element into a list of its own, its hands, and says again and again that it
/// lives; when that stops, another member puts everything back.
pub(super) struct Lists {
    options: SubscribeOptions,
    keys: Vec<String>,
    dead_letters: String,
    /// A fresh name for each connection: what the hands of an earlier one held, and nobody has seen, is put back.
    member: Mutex<String>,
    /// Which topic is the first to be asked next time, so that a busy one does not keep the others waiting.
    turn: AtomicUsize,
}

impl Lists {
    pub(super) fn new(config: &RedisSubscriptionConfig) -> Self {
        Self {
            keys: config.options.topics.iter().map(|topic| config.key(topic.as_str())).collect(),
            dead_letters: config.key(&config.options.dead_letters),
            options: config.options.clone(),
            member: Mutex::default(),
            turn: AtomicUsize::new(0),
        }
    }

    fn member(&self) -> String {
        self.member.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn item(&self, topic: usize, member: &str, value: Vec<u8>) -> Item {
        let name = self.options.topics[topic].as_str();
        let decoded = decode_element(name, &value);
        let id = decoded.as_ref().ok().map(|message| message.id().to_string());
        let message = decoded.map_err(|error| Undecodable {
            topic: name.to_owned(),
            error,
            payload: Bytes::copy_from_slice(&value),
        });
        Item { token: Token::Element { topic, member: member.to_owned(), value, id }, message, attempt: None }
    }

    /// Counts that these are handed out, where they have an id to count by.
    async fn count(&self, client: &mut MultiplexedConnection, items: &mut [Item]) -> RedisResult<()> {
        let mut pipeline = redis::pipe();
        let mut counted = Vec::new();
        for item in items {
            if let Token::Element { topic, id: Some(id), .. } = &item.token {
                pipeline.cmd("HINCRBY").arg(attempts(&self.keys[*topic])).arg(id).arg(1);
                counted.push(&mut item.attempt);
            }
        }
        if counted.is_empty() {
            return Ok(());
        }
        let counts: Vec<u32> = pipeline.query_async(client).await?;
        for (attempt, count) in counted.into_iter().zip(counts) {
            *attempt = Some(count);
        }
        Ok(())
    }

    async fn live(&self, client: &mut MultiplexedConnection, member: &str) -> RedisResult<()> {
        let mut pipeline = redis::pipe();
        for key in &self.keys {
            pipeline.cmd("EVAL").arg(format!("{NOW}\n{LIVE}")).arg(1).arg(members(key));
            pipeline.arg(member).arg(millis(self.options.redeliver_after));
        }
        pipeline.query_async::<Value>(client).await.map(drop)
    }

    /// Whether an element is still in the hands of this member, which are those of this connection.
    async fn holds(
        &self,
        client: &mut MultiplexedConnection,
        topic: usize,
        member: &str,
        value: &[u8],
    ) -> RedisResult<bool> {
        if member != self.member() {
            return Ok(false);
        }
        let mut position = cmd("LPOS");
        position.arg(hands(&self.keys[topic], member)).arg(value);
        Ok(position.query_async::<Option<u64>>(client).await?.is_some())
    }

    async fn settle(
        &self,
        client: &mut MultiplexedConnection,
        token: &Token,
        dead_letter: Option<&[u8]>,
    ) -> RedisResult<bool> {
        let Token::Element { topic, member, value, id } = token else { return Ok(false) };
        let key = &self.keys[*topic];
        let mut script = cmd("EVAL");
        script.arg(SETTLE).arg(3).arg(hands(key, member)).arg(attempts(key)).arg(&self.dead_letters);
        script.arg(value).arg(id.as_deref().unwrap_or_default());
        if let Some(dead_letter) = dead_letter {
            script.arg(dead_letter);
        }
        Ok(script.query_async::<i64>(client).await? == 1)
    }
}

#[async_trait]
impl Source for Lists {
    fn width(&self) -> usize {
        1
    }

    async fn prepare(&self, client: &mut MultiplexedConnection) -> RedisResult<()> {
        let member = Uuid::now_v7().simple().to_string();
        // Before it takes anything: whatever is in the hands of an unknown member is lost.
        self.live(client, &member).await?;
        *self.member.lock().unwrap_or_else(PoisonError::into_inner) = member;
        Ok(())
    }

    async fn fetch(&self, reader: &mut MultiplexedConnection, room: usize) -> RedisResult<Vec<Item>> {
        let (member, count) = (self.member(), self.keys.len());
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % count;
        let mut items = Vec::new();
        for topic in (turn..count).chain(0..turn) {
            if items.len() < room {
                let key = &self.keys[topic];
                let mut take = cmd("EVAL");
                take.arg(TAKE).arg(2).arg(key).arg(hands(key, &member)).arg(room - items.len());
                let values: Vec<Vec<u8>> = take.query_async(reader).await?;
                items.extend(values.into_iter().map(|value| self.item(topic, &member, value)));
            }
        }
        self.count(reader, &mut items).await?;
        Ok(items)
    }

    async fn wait(&self, reader: &mut MultiplexedConnection, moment: Duration) -> RedisResult<Vec<Item>> {
        let member = self.member();
        // One list can be waited for at a time. Never for 0 seconds, which would be for ever.
        let lists = f64::from(u32::try_from(self.keys.len()).unwrap_or(u32::MAX));
        let each = (moment.as_secs_f64() / lists).max(0.001);
        for (topic, key) in self.keys.iter().enumerate() {
            let mut wait = cmd("BLMOVE");
            wait.arg(key).arg(hands(key, &member)).arg("RIGHT").arg("LEFT").arg(each);
            let value: Option<Vec<u8>> = wait.query_async(reader).await?;
            if let Some(value) = value {
                let mut items = vec![self.item(topic, &member, value)];
                self.count(reader, &mut items).await?;
                return Ok(items);
            }
        }
        Ok(Vec::new())
    }

    async fn keep(&self, client: &mut MultiplexedConnection, _waiting: &[Token]) -> RedisResult<()> {
        self.live(client, &self.member()).await
    }

    async fn reclaim(&self, client: &mut MultiplexedConnection, _room: usize) -> RedisResult<Vec<Item>> {
        for key in &self.keys {
            let mut reap = cmd("EVAL");
            reap.arg(format!("{NOW}{REAP}")).arg(2).arg(members(key)).arg(key);
            reap.arg(hands(key, "")).arg(millis(GRACE));
            let count: u64 = reap.query_async(client).await?;
            if count > 0 {
                tracing::info!(
                    "{count} elements of {key:?} that a vanished member had are in the queue again"
                );
            }
        }
        // They come by the usual way.
        Ok(Vec::new())
    }

    async fn again(&self, client: &mut MultiplexedConnection, token: &Token) -> RedisResult<Option<Item>> {
        let Token::Element { topic, member, value, .. } = token else { return Ok(None) };
        // Otherwise it comes by way of the queue.
        if !self.holds(client, *topic, member, value).await? {
            return Ok(None);
        }
        let mut item = self.item(*topic, member, value.clone());
        self.count(client, std::slice::from_mut(&mut item)).await?;
        Ok(Some(item))
    }

    async fn ack(&self, client: &mut MultiplexedConnection, token: &Token) -> RedisResult<bool> {
        self.settle(client, token, None).await
    }

    async fn bury(
        &self,
        client: &mut MultiplexedConnection,
        token: &Token,
        reason: &str,
    ) -> RedisResult<bool> {
        let Token::Element { topic, value, .. } = token else { return Ok(false) };
        let dead = buried(value, reason, &self.options.group, self.options.topics[*topic].as_str());
        self.settle(client, token, Some(&dead)).await
    }

    async fn extend(&self, client: &mut MultiplexedConnection, token: &Token) -> RedisResult<bool> {
        let Token::Element { topic, member, value, .. } = token else { return Ok(false) };
        // The sign of life, which goes on, is for everything in a member's hands.
        self.holds(client, *topic, member, value).await
    }

    async fn hand_back(&self, client: &mut MultiplexedConnection) -> RedisResult<()> {
        let member = self.member();
        for key in &self.keys {
            let mut leave = cmd("EVAL");
            leave.arg(format!("{NOW}{LEAVE}")).arg(3);
            leave.arg(members(key)).arg(key).arg(hands(key, &member)).arg(&member);
            let _: Value = leave.query_async(client).await?;
        }
        Ok(())
    }
}

fn hands(key: &str, member: &str) -> String {
    format!("{key}:processing:{member}")
}

fn members(key: &str) -> String {
    format!("{key}:members")
}

fn attempts(key: &str) -> String {
    format!("{key}:attempts")
}
