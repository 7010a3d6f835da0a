use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use outbox_core::{SubscribeOptions, Undecodable};
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value};
use tokio::time::sleep;
use uuid::Uuid;

use super::config::RedisSubscriptionConfig;
use super::queue::Queue;
use super::source::{Item, Source, Token};
use crate::event::{buried, decode_element};

/// Lists, as queues of jobs.
pub(super) struct Lists {
    options: SubscribeOptions,
    /// One for each topic.
    queues: Vec<Queue>,
    dead_letters: String,
    /// A fresh name for each connection: what the hands of an earlier one held, and nobody has seen, is put back.
    member: Mutex<String>,
    /// Which topic is the first to be asked next time, so that a busy one does not keep the others waiting.
    turn: AtomicUsize,
}

impl Lists {
    pub(super) fn new(config: &RedisSubscriptionConfig) -> Self {
        let queue = |topic: &outbox_core::Topic| Queue::new(config.key(topic.as_str()));
        Self {
            queues: config.options.topics.iter().map(queue).collect(),
            dead_letters: config.key(&config.options.dead_letters),
            options: config.options.clone(),
            member: Mutex::default(),
            turn: AtomicUsize::new(0),
        }
    }

    fn member(&self) -> String {
        self.member.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn live(&self, client: &mut MultiplexedConnection, member: &str) -> RedisResult<()> {
        let mut pipeline = redis::pipe();
        for queue in &self.queues {
            queue.live(&mut pipeline, member, self.options.redeliver_after);
        }
        pipeline.query_async::<Value>(client).await.map(drop)
    }

    /// Elements that were taken, each with how often, where it has an id to count by.
    async fn items(
        &self,
        client: &mut MultiplexedConnection,
        topic: usize,
        member: &str,
        elements: Vec<Vec<u8>>,
    ) -> RedisResult<Vec<Item>> {
        let item = |element| self.item(topic, member, element);
        let mut items: Vec<Item> = elements.into_iter().map(item).collect();
        let (mut ids, mut attempts) = (Vec::new(), Vec::new());
        for Item { token, attempt, .. } in &mut items {
            if let Token::Element { id: Some(id), .. } = token {
                ids.push(id.as_str());
                attempts.push(attempt);
            }
        }
        if !ids.is_empty() {
            let counts = self.queues[topic].count(client, &ids).await?;
            for (attempt, count) in attempts.into_iter().zip(counts) {
                *attempt = Some(count);
            }
        }
        Ok(items)
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
        let (member, count) = (self.member(), self.queues.len());
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % count;
        let mut items = Vec::new();
        for topic in (turn..count).chain(0..turn) {
            if items.len() < room {
                let elements = self.queues[topic].take(reader, &member, room - items.len()).await?;
                items.extend(self.items(reader, topic, &member, elements).await?);
            }
        }
        Ok(items)
    }

    async fn wait(&self, reader: &mut MultiplexedConnection, moment: Duration) -> RedisResult<Vec<Item>> {
        let member = self.member();
        // One list can be waited for at a time. Never for 0 seconds, which would be for ever.
        let lists = f64::from(u32::try_from(self.queues.len()).unwrap_or(u32::MAX));
        let each = (moment.as_secs_f64() / lists).max(0.001);
        for (topic, queue) in self.queues.iter().enumerate() {
            match queue.wait(reader, &member, each).await {
                Ok(Some(element)) => return self.items(reader, topic, &member, vec![element]).await,
                Ok(None) => {}
                // A full server refuses this one, and lets us look whether there is something.
                Err(error) if error.code() == Some("OOM") => {
                    sleep(moment).await;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Vec::new())
    }

    async fn keep(&self, client: &mut MultiplexedConnection, _waiting: &[Token]) -> RedisResult<()> {
        self.live(client, &self.member()).await
    }

    async fn reclaim(&self, client: &mut MultiplexedConnection, _room: usize) -> RedisResult<Vec<Item>> {
        for queue in &self.queues {
            let count = queue.reap(client).await?;
            if count > 0 {
                let key = queue.key();
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
        if !self.extend(client, token).await? {
            return Ok(None);
        }
        Ok(self.items(client, *topic, member, vec![value.clone()]).await?.pop())
    }

    async fn ack(&self, client: &mut MultiplexedConnection, token: &Token) -> RedisResult<bool> {
        let Token::Element { topic, member, value, id } = token else { return Ok(false) };
        self.queues[*topic].settle(client, member, (value, id.as_deref()), None).await
    }

    async fn bury(
        &self,
        client: &mut MultiplexedConnection,
        token: &Token,
        reason: &str,
    ) -> RedisResult<bool> {
        let Token::Element { topic, member, value, id } = token else { return Ok(false) };
        let dead = buried(value, reason, &self.options.group, self.options.topics[*topic].as_str());
        let dead = Some((&*self.dead_letters, &*dead));
        self.queues[*topic].settle(client, member, (value, id.as_deref()), dead).await
    }

    async fn extend(&self, client: &mut MultiplexedConnection, token: &Token) -> RedisResult<bool> {
        let Token::Element { topic, member, value, .. } = token else { return Ok(false) };
        // The sign of life, which goes on, is for everything in the hands of the member that this connection has.
        Ok(*member == self.member() && self.queues[*topic].holds(client, member, value).await?)
    }

    async fn hand_back(&self, client: &mut MultiplexedConnection) -> RedisResult<()> {
        let member = self.member();
        for queue in &self.queues {
            queue.leave(client, &member).await?;
        }
        Ok(())
    }
}
