use std::error::Error;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use outbox_core::{BoxError, HandlerWork, OutboxMessage};

/// Puts messages that belong to no transaction into an outbox.
///
/// # Contract
///
/// Between a sink and a [`Publisher`](super::Publisher).
///
/// * `Ok` means that a transaction with all the messages, in their order, is committed. It is a short one, of the sink's
///   own.
/// * An error means that none is in the outbox, or that nobody knows.
/// * Calls may overlap.
///
/// [`sink`] makes one of a pool and a function.
#[async_trait]
pub trait MessageSink: Send + Sync + 'static {
    /// Writes the messages and commits them. They are never none.
    ///
    /// # Errors
    ///
    /// Those of the database.
    ///
    /// # Cancel safety
    ///
    /// A dropped future has committed all messages or none.
    async fn store(&self, messages: &[OutboxMessage]) -> Result<(), SinkError>;
}

/// Why messages could not be stored. Every error becomes one by `?`.
///
/// It is no [`Error`] itself, as `anyhow::Error` is none, so that `?` can take any.
pub struct SinkError(BoxError);

impl SinkError {
    /// The error of the database.
    #[must_use]
    pub fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.0
    }
}

impl<E: Into<BoxError>> From<E> for SinkError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SinkError").field(&self.0).finish()
    }
}

#[async_trait]
impl<S: MessageSink + ?Sized> MessageSink for Arc<S> {
    async fn store(&self, messages: &[OutboxMessage]) -> Result<(), SinkError> {
        (**self).store(messages).await
    }
}

/// A sink from what it needs (a pool and a writer, mostly) and a function.
///
/// ```
/// use outbox_core::{BoxError, OutboxMessage, OutboxWriter};
/// use outbox_memory::{MemoryStore, MemoryWriter};
/// use outbox_relay::{MessageSink, SinkError, sink};
///
/// async fn write(store: &MemoryStore, messages: &[OutboxMessage]) -> Result<(), SinkError> {
///     let mut transaction = store.begin(); // with sqlx: pool.begin().await?
///     MemoryWriter.enqueue_all(&mut transaction, messages).await?;
///     transaction.commit();
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let store = MemoryStore::new();
/// let sink = sink(store.clone(), write);
/// let stored = sink.store(&[OutboxMessage::bytes("orders", "7")?.build()?]).await;
/// assert!(stored.is_ok());
/// assert_eq!(store.pending().len(), 1);
/// # Ok(())
/// # }
/// ```
pub fn sink<S, F>(state: S, write: F) -> StatefulSink<S, F>
where
    StatefulSink<S, F>: MessageSink,
{
    StatefulSink { state, write }
}

/// A sink made by [`sink`].
#[derive(Clone)]
pub struct StatefulSink<S, F> {
    state: S,
    write: F,
}

#[async_trait]
impl<S, F> MessageSink for StatefulSink<S, F>
where
    S: Send + Sync + 'static,
    for<'s, 'm> F: AsyncFn(&'s S, &'m [OutboxMessage]) -> Result<(), SinkError>
        + HandlerWork<&'s S, &'m [OutboxMessage], Result<(), SinkError>, Fut: Send>
        + Send
        + Sync
        + 'static,
{
    async fn store(&self, messages: &[OutboxMessage]) -> Result<(), SinkError> {
        (self.write)(&self.state, messages).await
    }
}

/// Says nothing of its state: pools may print their passwords.
impl<S, F> fmt::Debug for StatefulSink<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatefulSink").finish_non_exhaustive()
    }
}
