use async_trait::async_trait;

/// A hint that something was committed. A lost hint costs one poll interval, never a message.
#[async_trait]
pub trait Wakeup: Send + 'static {
    /// What to call it in metrics: `postgres`, `redis`.
    fn name(&self) -> &'static str;

    /// Returns when there may be something to read. Recovers from a lost connection by itself, with a pause between
    /// attempts, and then returns once, because hints may have been missed.
    ///
    /// # Cancel safety
    ///
    /// Yes: a hint that arrives while nobody waits is returned by the next call, or is lost.
    async fn wait(&mut self);
}
