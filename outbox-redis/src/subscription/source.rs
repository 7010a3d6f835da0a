use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{OutboxMessage, Undecodable};
use redis::RedisResult;
use redis::aio::MultiplexedConnection;

/// By what a delivery is known to the server.
#[derive(Debug, Clone)]
pub(super) enum Token {
    /// An entry of the stream of this topic.
    Entry { topic: usize, id: String },
    /// An element of the list of this topic, in the hands of a member. Elements have no number; the value itself is what
    /// the server finds it by.
    Element { topic: usize, member: String, value: Vec<u8>, id: Option<String> },
}

/// Something to hand out.
pub(super) struct Item {
    pub(super) token: Token,
    pub(super) message: Result<OutboxMessage, Undecodable>,
    pub(super) attempt: Option<u32>,
}

/// What a stream and a list do differently. Whatever settles says whether the delivery was still ours.
#[async_trait]
pub(super) trait Source: Send + Sync {
    /// How many items a wait brings at most.
    fn width(&self) -> usize;

    /// Makes what has to be there, under a fresh name where the old one may hold what nobody knows of any more.
    async fn prepare(&self, client: &mut MultiplexedConnection) -> RedisResult<()>;

    /// What is new, at most `room` of it.
    async fn fetch(&self, reader: &mut MultiplexedConnection, room: usize) -> RedisResult<Vec<Item>>;

    /// Waits a moment for something new.
    async fn wait(&self, reader: &mut MultiplexedConnection, moment: Duration) -> RedisResult<Vec<Item>>;

    /// Says that this member lives, and that what waits in it is not abandoned.
    async fn keep(&self, client: &mut MultiplexedConnection, waiting: &[Token]) -> RedisResult<()>;

    /// Takes over what members that are gone have left.
    async fn reclaim(&self, client: &mut MultiplexedConnection, room: usize) -> RedisResult<Vec<Item>>;

    /// Hands out once more what was handed back.
    async fn again(&self, client: &mut MultiplexedConnection, token: &Token) -> RedisResult<Option<Item>>;

    async fn ack(&self, client: &mut MultiplexedConnection, token: &Token) -> RedisResult<bool>;

    async fn bury(
        &self,
        client: &mut MultiplexedConnection,
        token: &Token,
        reason: &str,
    ) -> RedisResult<bool>;

    async fn extend(&self, client: &mut MultiplexedConnection, token: &Token) -> RedisResult<bool>;

    /// Gives everything unsettled to whoever comes next.
    async fn hand_back(&self, client: &mut MultiplexedConnection) -> RedisResult<()>;
}

/// As the server counts.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
