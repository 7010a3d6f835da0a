use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::streams::{StreamInfoConsumer, StreamInfoConsumersReply, StreamPendingCountReply};
use redis::{RedisResult, Value, cmd};
use uuid::Uuid;

use super::entry::Entries;
use super::source::millis;

/// What counts as idle for longer than anybody waits.
const FOR_AGES: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Entries that are looked at in one go.
pub(super) const PAGE: usize = 100;
/// What the names of our consumers begin with.
const CONSUMER: &str = "outbox-";
/// A consumer that was silent for so long does not come back.
const FORGOTTEN: Duration = Duration::from_secs(24 * 60 * 60);

/// Starts the time of entries anew, of those that are still this consumer's, without counting it as a delivery.
/// Key: the stream; arguments: the group, the consumer, the ids.
const KEEP: &str = "
local kept = 0
for i = 3, #ARGV do
  if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[2]) > 0 then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'IDLE', 0, 'JUSTID')
    kept = kept + 1
  end
end
return kept";

/// Hands out an entry once more, if it is still this consumer's: whoever hands it back late may have lost it to another.
/// Key: the stream; arguments: the group, the consumer, the id.
const AGAIN: &str = "
if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1, ARGV[2]) == 0 then return {} end
return redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3])";

/// Deletes a consumer. What was pending for it would be settled by that, so only if nothing is, and in one step: a read
/// may still be on its way. Key: the stream; arguments: the group, the consumer.
const FORGET: &str = "
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then return 0 end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return 1";

/// A consumer group, and this member of it, which is a consumer of a name of its own in each stream.
pub(super) struct Group {
    pub(super) name: String,
    pub(super) consumer: String,
}

impl Group {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), consumer: format!("{CONSUMER}{}", Uuid::now_v7().simple()) }
    }

    /// Makes the group, and tidies up.
    pub(super) async fn create(&self, client: &mut MultiplexedConnection, key: &str) -> RedisResult<()> {
        let mut create = cmd("XGROUP");
        // From the first entry: what was published before the group existed is for it, too.
        create.arg("CREATE").arg(key).arg(&self.name).arg("0").arg("MKSTREAM");
        match create.query_async::<Value>(client).await {
            // A full server refuses that also if the group exists; if it does not, reading says so.
            Err(error) if matches!(error.code(), Some("BUSYGROUP" | "OOM")) => {}
            created => created.map(drop)?,
        }
        self.forget_the_dead(client, key).await
    }

    /// How many of the entries are still this consumer's.
    pub(super) async fn keep(
        &self,
        client: &mut MultiplexedConnection,
        key: &str,
        ids: &[&str],
    ) -> RedisResult<usize> {
        let mut keep = cmd("EVAL");
        keep.arg(KEEP).arg(1).arg(key).arg(&self.name).arg(&self.consumer).arg(ids);
        keep.query_async(client).await
    }

    /// The entry, counted as one more delivery, if it is still this consumer's.
    pub(super) async fn again(
        &self,
        client: &mut MultiplexedConnection,
        key: &str,
        id: &str,
    ) -> RedisResult<Entries> {
        let mut again = cmd("EVAL");
        again.arg(AGAIN).arg(1).arg(key).arg(&self.name).arg(&self.consumer).arg(id);
        again.query_async(client).await
    }

    /// Leaves everything that is pending for this consumer to whoever comes next.
    pub(super) async fn leave(&self, client: &mut MultiplexedConnection, key: &str) -> RedisResult<()> {
        let mut start = "-".to_owned();
        loop {
            let mut pending = cmd("XPENDING");
            pending.arg(key).arg(&self.name).arg(&start).arg("+").arg(PAGE).arg(&self.consumer);
            let pending: StreamPendingCountReply = pending.query_async(client).await?;
            let ids: Vec<&str> = pending.ids.iter().map(|pending| pending.id.as_str()).collect();
            let Some(last) = ids.last() else { break };
            let mut claim = cmd("XCLAIM");
            claim.arg(key).arg(&self.name).arg(&self.consumer).arg(0).arg(&ids);
            claim.arg("IDLE").arg(millis(FOR_AGES)).arg("JUSTID");
            let _: Value = claim.query_async(client).await?;
            start = format!("({last}");
        }
        self.forget(client, key, &self.consumer).await
    }

    /// Deletes the consumers of members that ended without a word, one of which each start of a process makes.
    async fn forget_the_dead(&self, client: &mut MultiplexedConnection, key: &str) -> RedisResult<()> {
        let mut consumers = cmd("XINFO");
        consumers.arg("CONSUMERS").arg(key).arg(&self.name);
        // Where this user may not ask, they stay.
        let Ok(found) = consumers.query_async::<StreamInfoConsumersReply>(client).await else {
            return Ok(());
        };
        let dead = |consumer: &StreamInfoConsumer| {
            let silent = u64::try_from(consumer.idle).unwrap_or(u64::MAX) > millis(FORGOTTEN);
            silent && consumer.pending == 0 && consumer.name.starts_with(CONSUMER)
        };
        for consumer in found.consumers.into_iter().filter(dead) {
            self.forget(client, key, &consumer.name).await?;
        }
        Ok(())
    }

    async fn forget(&self, client: &mut MultiplexedConnection, key: &str, consumer: &str) -> RedisResult<()> {
        let mut forget = cmd("EVAL");
        forget.arg(FORGET).arg(1).arg(key).arg(&self.name).arg(consumer);
        forget.query_async::<Value>(client).await.map(drop)
    }
}
