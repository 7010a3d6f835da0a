use outbox_core::SubscribeError;

/// Why a consumer did not start, or how it ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumerError {
    /// A field of the configuration is wrong.
    #[error("consumer configuration: {field} is {value}, {expected}")]
    Config {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        expected: String,
    },
    /// The subscription could not be closed in order. Nothing is lost: what the broker does not know comes again.
    #[error("closing the subscription: {0}")]
    Subscription(#[from] SubscribeError),
    /// Handlers were still running when the time for the shutdown was over. They were dropped, and their messages come
    /// again.
    #[error("shutdown timed out with {unfinished} handlers running; their messages come again")]
    ShutdownTimedOut {
        /// How many.
        unfinished: usize,
    },
    /// A task of the consumer panicked, outside of any handler: a defect.
    #[error("a task of the consumer panicked")]
    Panicked,
}
