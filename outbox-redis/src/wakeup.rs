use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{BrokerConfigError, Wakeup};
use redis::streams::{StreamRangeReply, StreamReadReply};
use redis::{RedisResult, cmd};
use tokio::time::{sleep, timeout};

use crate::connection::Connection;
use crate::endpoint::invalid;
use crate::link::Link;
use crate::{RedisConfig, tls};

/// How long one read waits.
const MOMENT: Duration = Duration::from_secs(20);
/// How long an answer may take.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Wakes the relay when another process says that it has committed messages, by a stream of one entry. Every relay that
/// waits is woken; reading takes nothing from the others. A list that is taken from (`BLPOP`) would wake one of them, which
/// may not own the shard of what was committed.
///
/// The other end is [`RedisNotifier`](crate::RedisNotifier), or any program: `XADD outbox:wake:SERVICE MAXLEN 1 * w 1`.
pub struct RedisWakeup {
    link: Link,
    key: String,
    listening: Option<Listening>,
    /// `None` before the first attempt.
    pause: Option<Duration>,
}

/// A connection of its own, because a read that waits keeps everything behind it waiting.
struct Listening {
    connection: Connection,
    /// The entry that was seen last.
    last: String,
}

impl RedisWakeup {
    /// Wakes by the hints for this service, whose name all its processes share. Connects when it is waited for.
    ///
    /// # Errors
    ///
    /// [`BrokerConfigError`] if the name or a value of the configuration can't be used, or a file can't be read.
    pub fn new(config: &RedisConfig, service: &str) -> Result<Self, BrokerConfigError> {
        let (link, key) = hints(config, service)?;
        Ok(Self { link, key, listening: None, pause: None })
    }

    async fn listen(&mut self) -> Result<(), String> {
        let connection = self.link.open().await?;
        let mut newest = cmd("XREVRANGE");
        newest.arg(&self.key).arg("+").arg("-").arg("COUNT").arg(1);
        let mut client = connection.client();
        let newest = timeout(ANSWER_LIMIT, newest.query_async::<StreamRangeReply>(&mut client)).await;
        let newest = newest.map_err(|_| "it does not answer")?.map_err(|error| error.to_string())?;
        let last = newest.ids.into_iter().next().map_or_else(|| "0-0".to_owned(), |entry| entry.id);
        self.listening = Some(Listening { connection, last });
        self.pause = None;
        Ok(())
    }
}

/// The way to the hints for a service, and their key.
pub(crate) fn hints(config: &RedisConfig, service: &str) -> Result<(Link, String), BrokerConfigError> {
    let config = config.clone().checked()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !(1..=128).contains(&service.len()) || !service.chars().all(plain) {
        invalid("service", "1 to 128 letters, digits, - _ .")?;
    }
    let key = format!("{}outbox:wake:{service}", config.prefix);
    let tls = tls::connector(&config.endpoint.tls)?;
    Ok((Link::new(config.endpoint, tls), key))
}

impl Listening {
    /// Whether there was something.
    async fn receive(&mut self, key: &str) -> RedisResult<bool> {
        let mut read = cmd("XREAD");
        read.arg("BLOCK").arg(u64::try_from(MOMENT.as_millis()).unwrap_or(u64::MAX));
        read.arg("STREAMS").arg(key).arg(&self.last);
        let found: Option<StreamReadReply> = read.query_async(&mut self.connection.client()).await?;
        let entries = found.into_iter().flat_map(|found| found.keys).flat_map(|stream| stream.ids);
        match entries.last() {
            Some(entry) => self.last = entry.id,
            None => return Ok(false),
        }
        Ok(true)
    }
}

#[async_trait]
impl Wakeup for RedisWakeup {
    fn name(&self) -> &'static str {
        "redis"
    }

    async fn wait(&mut self) {
        loop {
            while let Some(listening) = &mut self.listening {
                match timeout(MOMENT + ANSWER_LIMIT, listening.receive(&self.key)).await {
                    Ok(Ok(true)) => return,
                    Ok(Ok(false)) => {}
                    Ok(Err(error)) => {
                        tracing::debug!(%error, "the connection that listens for hints was lost");
                        self.listening = None;
                    }
                    Err(_) => self.listening = None,
                }
                self.pause = Some(FIRST_PAUSE);
            }
            if let Some(pause) = self.pause {
                sleep(pause).await;
            }
            self.pause = Some(self.pause.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE)));
            match self.listen().await {
                // Hints may have been missed.
                Ok(()) => return,
                Err(error) => tracing::debug!(error, "can't listen for hints"),
            }
        }
    }
}

impl fmt::Debug for RedisWakeup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisWakeup").field("key", &self.key).finish_non_exhaustive()
    }
}
