use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use outbox_core::{SubscribeOptions, Undecodable};
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value, cmd};
use uuid::Uuid;

use super::config::RedisSubscriptionConfig;
use super::source::{Item, Source, Token};
use crate::event::{buried, decode_element};

/// How long a read waits for something new, over all topics.
const MOMENT: Duration = Duration::from_secs(1);

/// Gives back what a member has in its hands, the oldest first in the queue again, if the member is gone or says so.
/// Keys: its sign of life, its hands, the queue, the members; arguments: its name, whether it says so.
const GIVE_BACK: &str = "
if ARGV[2] == '0' and redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local count = 0
while redis.call('LMOVE', KEYS[2], KEYS[3], 'LEFT', 'RIGHT') do count = count + 1 end
redis.call('DEL', KEYS[1])
redis.call('SREM', KEYS[4], ARGV[1])
return count";

/// Takes an element out of a member's hands, and puts another one among the dead letters if it was there.
/// Keys: its hands, the counts of attempts, the dead letters; arguments: the element, its id, the dead letter.
const SETTLE: &str = "
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then return 0 end
if ARGV[2] ~= '' then redis.call('HDEL', KEYS[2], ARGV[2]) end
if ARGV[3] then redis.call('LPUSH', KEYS[3], ARGV[3]) end
return 1";

/// Lists, as queues of jobs. A member takes an element into a list of its own, its hands, and gives a sign of life; when
/// that stops, another member puts everything back.
pub(super) struct Lists {
    options: SubscribeOptions,
    keys: Vec<String>,
    dead_letters: String,
    /// A fresh name for each connection: what the hands of an earlier one held, and nobody has seen, is put back.
    member: Mutex<String>,
}

impl Lists {
    pub(super) fn new(config: &RedisSubscriptionConfig) -> Self {
        Self {
            keys: config.options.topics.iter().map(|topic| config.key(topic.as_str())).collect(),
            dead_letters: config.key(&config.options.dead_letters),
            options: config.options.clone(),
            member: Mutex::default(),
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

    fn sign_of_life(&self, pipeline: &mut redis::Pipeline, member: &str) {
        let time = u64::try_from(self.options.redeliver_after.as_millis()).unwrap_or(u64::MAX);
        for key in &self.keys {
            pipeline.cmd("SET").arg(alive(key, member)).arg("1").arg("PX").arg(time);
        }
    }

    async fn give_back(
        client: &mut MultiplexedConnection,
        key: &str,
        member: &str,
        in_any_case: bool,
    ) -> RedisResult<u64> {
        let mut script = cmd("EVAL");
        script.arg(GIVE_BACK).arg(4);
        script.arg(alive(key, member)).arg(hands(key, member)).arg(key).arg(members(key));
        script.arg(member).arg(if in_any_case { "1" } else { "0" });
        script.query_async(client).await
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
    async fn prepare(&self, client: &mut MultiplexedConnection) -> RedisResult<()> {
        let member = Uuid::now_v7().simple().to_string();
        let mut pipeline = redis::pipe();
        for key in &self.keys {
            pipeline.cmd("SADD").arg(members(key)).arg(&member);
        }
        self.sign_of_life(&mut pipeline, &member);
        let _: Value = pipeline.query_async(client).await?;
        *self.member.lock().unwrap_or_else(PoisonError::into_inner) = member;
        Ok(())
    }

    async fn fetch(&self, reader: &mut MultiplexedConnection, room: usize) -> RedisResult<Vec<Item>> {
        let member = self.member();
        let mut items = Vec::new();
        for (topic, key) in self.keys.iter().enumerate() {
            let mut pipeline = redis::pipe();
            for _ in items.len()..room {
                pipeline.cmd("LMOVE").arg(key).arg(hands(key, &member)).arg("RIGHT").arg("LEFT");
            }
            if items.len() < room {
                let values: Vec<Option<Vec<u8>>> = pipeline.query_async(reader).await?;
                items.extend(values.into_iter().flatten().map(|value| self.item(topic, &member, value)));
            }
        }
        self.count(reader, &mut items).await?;
        Ok(items)
    }

    async fn wait(&self, reader: &mut MultiplexedConnection) -> RedisResult<Vec<Item>> {
        let member = self.member();
        // One list can be waited for at a time.
        let each = MOMENT.as_secs_f64() / f64::from(u32::try_from(self.keys.len()).unwrap_or(u32::MAX));
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

    async fn keep(&self, client: &mut MultiplexedConnection, _delayed: &[Token]) -> RedisResult<()> {
        let mut pipeline = redis::pipe();
        self.sign_of_life(&mut pipeline, &self.member());
        pipeline.query_async::<Value>(client).await.map(drop)
    }

    async fn reclaim(&self, client: &mut MultiplexedConnection, _room: usize) -> RedisResult<Vec<Item>> {
        let own = self.member();
        for key in &self.keys {
            let known: Vec<String> = cmd("SMEMBERS").arg(members(key)).query_async(client).await?;
            for member in known.iter().filter(|member| **member != own) {
                let count = Self::give_back(client, key, member, false).await?;
                if count > 0 {
                    tracing::info!(
                        "{count} elements of {key:?} that a vanished member had are in the queue again"
                    );
                }
            }
        }
        // They come by the usual way.
        Ok(Vec::new())
    }

    async fn again(&self, client: &mut MultiplexedConnection, token: &Token) -> RedisResult<Option<Item>> {
        let Token::Element { topic, member, value, .. } = token else { return Ok(None) };
        // Otherwise it was put back into the queue when an earlier connection was lost.
        if *member != self.member() {
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

    async fn extend(&self, _client: &mut MultiplexedConnection, token: &Token) -> RedisResult<bool> {
        // The sign of life is for everything in a member's hands.
        Ok(matches!(token, Token::Element { member, .. } if *member == self.member()))
    }

    async fn hand_back(&self, client: &mut MultiplexedConnection) -> RedisResult<()> {
        let member = self.member();
        for key in &self.keys {
            Self::give_back(client, key, &member, true).await?;
        }
        Ok(())
    }
}

fn hands(key: &str, member: &str) -> String {
    format!("{key}:processing:{member}")
}

fn alive(key: &str, member: &str) -> String {
    format!("{key}:alive:{member}")
}

fn members(key: &str) -> String {
    format!("{key}:members")
}

fn attempts(key: &str) -> String {
    format!("{key}:attempts")
}
