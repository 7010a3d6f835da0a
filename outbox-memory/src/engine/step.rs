use std::any::Any;
use std::fmt;

use outbox_core::{Event, MessageError, OutboxMessage};

/// What a [`Process`](crate::Process) decides: the new state, the messages that go with it, and what its caller is told.
///
/// It lives for one attempt and can be cloned by nobody. The engine takes it whole or drops it whole, so a message of a
/// failed attempt has no way into the outbox.
///
/// A test looks at what it holds:
///
/// ```
/// # use std::borrow::Cow;
/// use outbox_core::{Event, Json, MessageError};
/// use outbox_memory::Step;
///
/// #[derive(Debug, PartialEq, serde::Serialize)]
/// struct Counted {
///     count: u64,
/// }
///
/// impl Event for Counted {
///     const TOPIC: &'static str = "counted";
///     type Codec = Json;
/// }
///
/// fn count(before: &u64) -> Result<Step<u64>, MessageError> {
///     let count = before + 1;
///     Step::new(count).emit(Counted { count })
/// }
///
/// let step = count(&6)?;
/// assert_eq!(step.state, 7);
/// assert_eq!(step.emitted::<Counted>(), [&Counted { count: 7 }]);
/// assert_eq!(step.messages()[0].payload().as_ref(), br#"{"count":7}"#);
/// # Ok::<(), MessageError>(())
/// ```
///
/// There is no second copy that could outlive a lost attempt:
///
/// ```compile_fail,E0599
/// let step = outbox_memory::Step::new(7_u64);
/// let kept = step.clone();
/// ```
///
/// ```compile_fail,E0382
/// # use outbox_memory::{Engine, Step};
/// # let engine: Engine<String, u64> = Engine::new();
/// let (state, step) = (engine.state("a"), Step::new(7_u64));
/// let lost = engine.commit("a", &state, step);
/// let again = engine.commit("a", &engine.state("a"), step);
/// ```
#[must_use = "a step that is dropped never happened"]
pub struct Step<S, T = ()> {
    /// The new state.
    pub state: S,
    /// What the caller gets once it is committed.
    pub output: T,
    messages: Vec<OutboxMessage>,
    /// The events as they were emitted, so that a test can compare values instead of bytes, whatever their codec.
    events: Vec<Box<dyn Any + Send + Sync>>,
}

impl<S> Step<S> {
    /// A new state, without messages.
    pub fn new(state: S) -> Self {
        Self { state, output: (), messages: Vec::new(), events: Vec::new() }
    }
}

impl<S, T> Step<S, T> {
    /// Takes a message along.
    #[expect(
        clippy::should_implement_trait,
        reason = "the name that it has in every transaction; `+` would say nothing"
    )]
    pub fn add(mut self, message: OutboxMessage) -> Self {
        self.messages.push(message);
        self
    }

    /// Takes several messages along.
    pub fn add_all(mut self, messages: impl IntoIterator<Item = OutboxMessage>) -> Self {
        self.messages.extend(messages);
        self
    }

    /// Takes an event along.
    ///
    /// # Errors
    ///
    /// [`MessageError`] if it can't be encoded or is out of its limits.
    pub fn emit<E: Event + Send + Sync + 'static>(mut self, event: E) -> Result<Self, MessageError> {
        self.messages.push(OutboxMessage::event(&event)?);
        self.events.push(Box::new(event));
        Ok(self)
    }

    /// Takes several events along.
    ///
    /// # Errors
    ///
    /// As [`Step::emit`].
    pub fn emit_all<E: Event + Send + Sync + 'static>(
        self,
        events: impl IntoIterator<Item = E>,
    ) -> Result<Self, MessageError> {
        events.into_iter().try_fold(self, Self::emit)
    }

    /// Tells the caller something once the step is committed, in place of what was to be told before.
    pub fn returning<U>(self, output: U) -> Step<S, U> {
        Step { state: self.state, output, messages: self.messages, events: self.events }
    }

    /// All messages, in the order in which they were taken along.
    #[must_use]
    pub fn messages(&self) -> &[OutboxMessage] {
        &self.messages
    }

    /// The events of this type, in the order in which they were emitted.
    #[must_use]
    pub fn emitted<E: 'static>(&self) -> Vec<&E> {
        self.events.iter().filter_map(|event| event.downcast_ref()).collect()
    }

    /// Takes all messages out.
    pub fn drain(&mut self) -> Vec<OutboxMessage> {
        self.events.clear();
        std::mem::take(&mut self.messages)
    }
}

impl<S: fmt::Debug, T: fmt::Debug> fmt::Debug for Step<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step")
            .field("state", &self.state)
            .field("output", &self.output)
            .field("messages", &self.messages)
            .finish_non_exhaustive()
    }
}
