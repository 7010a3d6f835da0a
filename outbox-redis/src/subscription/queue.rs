use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisResult, Value, cmd};

use super::source::millis;

/// For how long the hands of a member are looked at after its last sign of life. A command of a member that was frozen or
/// cut off may be carried out long after everybody has given it up, and put an element there.
const GRACE: Duration = Duration::from_secs(60 * 60);

// A full server refuses whatever could need more memory, but not in the middle of a script. Each script that needs some
// begins with a write that needs none and changes nothing: a queue that nobody may take from would stay full for ever.

/// Says that a member lives. Key: the members; arguments: its name, for how long.
const LIVE: &str = "
local time = redis.call('TIME')
redis.call('ZREM', KEYS[1], '')
redis.call('ZADD', KEYS[1], time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2], ARGV[1])";

/// Takes elements from the end of a queue into a member's hands. Keys: the queue, the hands; argument: how many.
const TAKE: &str = "
redis.call('LTRIM', KEYS[2], 0, -1)
local taken = {}
for i = 1, ARGV[1] do
  local element = redis.call('LMOVE', KEYS[1], KEYS[2], 'RIGHT', 'LEFT')
  if not element then break end
  taken[i] = element
end
return taken";

/// Counts that elements are handed out. Key: the attempts; arguments: their ids.
const COUNT: &str = "
redis.call('HDEL', KEYS[1], '')
local counts = {}
for i, id in ipairs(ARGV) do counts[i] = redis.call('HINCRBY', KEYS[1], id, 1) end
return counts";

/// Puts back what members have in their hands whose time is over, so that the oldest is next again.
/// Keys: the members, the queue; arguments: what the key of their hands begins with, the grace.
const REAP: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREM', KEYS[1], '')
local count = 0
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)) do
  while redis.call('LMOVE', ARGV[1] .. member, KEYS[2], 'LEFT', 'RIGHT') do count = count + 1 end
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
return count";

/// Puts back what a member has in its hands, and says that its time is over.
/// Keys: the members, the queue, its hands; argument: its name.
const LEAVE: &str = "
local time = redis.call('TIME')
redis.call('ZREM', KEYS[1], '')
while redis.call('LMOVE', KEYS[3], KEYS[2], 'LEFT', 'RIGHT') do end
redis.call('ZADD', KEYS[1], time[1] * 1000 + math.floor(time[2] / 1000), ARGV[1])";

/// Takes an element out of a member's hands if it is there, with another one among the dead letters before. What a
/// script has done stays done when it fails, so the one that can fail comes first.
/// Keys: its hands, the counts of attempts, the dead letters; arguments: the element, its id, the dead letter.
const SETTLE: &str = "
if not redis.call('LPOS', KEYS[1], ARGV[1]) then return 0 end
redis.call('LTRIM', KEYS[1], 0, -1)
if ARGV[3] then redis.call('LPUSH', KEYS[3], ARGV[3]) end
redis.call('LREM', KEYS[1], 1, ARGV[1])
if ARGV[2] ~= '' then redis.call('HDEL', KEYS[2], ARGV[2]) end
return 1";

/// A list as a queue of jobs, and what belongs to it: a member takes an element into a list of its own, its hands, and
/// says again and again that it lives; when that stops, another member puts everything back.
pub(super) struct Queue {
    key: String,
    /// What the keys of all hands begin with.
    hands: String,
    /// A sorted set: until when each member is believed to live, by the server's clock in milliseconds.
    members: String,
    /// A hash: how often each element was handed out, by its id.
    attempts: String,
}

impl Queue {
    pub(super) fn new(key: String) -> Self {
        Self {
            hands: format!("{key}:processing:"),
            members: format!("{key}:members"),
            attempts: format!("{key}:attempts"),
            key,
        }
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn live(&self, pipeline: &mut Pipeline, member: &str, time: Duration) {
        pipeline.cmd("EVAL").arg(LIVE).arg(1).arg(&self.members).arg(member).arg(millis(time));
    }

    pub(super) async fn take(
        &self,
        client: &mut MultiplexedConnection,
        member: &str,
        most: usize,
    ) -> RedisResult<Vec<Vec<u8>>> {
        let mut take = eval(TAKE, &[&self.key, &self.hands(member)]);
        take.arg(most).query_async(client).await
    }

    /// Waits so many seconds for an element.
    pub(super) async fn wait(
        &self,
        client: &mut MultiplexedConnection,
        member: &str,
        seconds: f64,
    ) -> RedisResult<Option<Vec<u8>>> {
        let mut wait = cmd("BLMOVE");
        wait.arg(&self.key).arg(self.hands(member)).arg("RIGHT").arg("LEFT").arg(seconds);
        wait.query_async(client).await
    }

    pub(super) async fn count(
        &self,
        client: &mut MultiplexedConnection,
        ids: &[&str],
    ) -> RedisResult<Vec<u32>> {
        eval(COUNT, &[&self.attempts]).arg(ids).query_async(client).await
    }

    /// How many elements were put back.
    pub(super) async fn reap(&self, client: &mut MultiplexedConnection) -> RedisResult<u64> {
        let mut reap = eval(REAP, &[&self.members, &self.key]);
        reap.arg(&self.hands).arg(millis(GRACE)).query_async(client).await
    }

    pub(super) async fn leave(&self, client: &mut MultiplexedConnection, member: &str) -> RedisResult<()> {
        let mut leave = eval(LEAVE, &[&self.members, &self.key, &self.hands(member)]);
        leave.arg(member).query_async::<Value>(client).await.map(drop)
    }

    /// Whether a member has an element in its hands.
    pub(super) async fn holds(
        &self,
        client: &mut MultiplexedConnection,
        member: &str,
        element: &[u8],
    ) -> RedisResult<bool> {
        let mut position = cmd("LPOS");
        position.arg(self.hands(member)).arg(element);
        Ok(position.query_async::<Option<u64>>(client).await?.is_some())
    }

    /// `false` if a member does not have it in its hands any more. A dead letter comes with the key that takes it.
    pub(super) async fn settle(
        &self,
        client: &mut MultiplexedConnection,
        member: &str,
        (element, id): (&[u8], Option<&str>),
        dead_letter: Option<(&str, &[u8])>,
    ) -> RedisResult<bool> {
        let dead_letters = dead_letter.map_or(&*self.key, |(key, _)| key);
        let mut settle = eval(SETTLE, &[&self.hands(member), &self.attempts, dead_letters]);
        settle.arg(element).arg(id.unwrap_or_default());
        if let Some((_, dead_letter)) = dead_letter {
            settle.arg(dead_letter);
        }
        Ok(settle.query_async::<u8>(client).await? == 1)
    }

    fn hands(&self, member: &str) -> String {
        format!("{}{member}", self.hands)
    }
}

fn eval(script: &str, keys: &[&str]) -> Cmd {
    let mut eval = cmd("EVAL");
    eval.arg(script).arg(keys.len()).arg(keys);
    eval
}
