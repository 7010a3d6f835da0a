use std::borrow::Cow;

use outbox::memory::{Process, Step};
use outbox::{Event, Json, MessageError, MessageId};
use serde::{Deserialize, Serialize};

/// A state has its next version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Counted {
    pub key: String,
    pub version: u64,
}

impl Event for Counted {
    const TOPIC: &'static str = "states.counted";
    type Codec = Json;

    /// That of the state, so that its versions are delivered in their order.
    fn ordering_key(&self) -> Option<Cow<'_, str>> {
        Some(self.key.as_str().into())
    }
}

/// Counts, says so in a message, and tells the caller which message that is.
pub fn count(key: &str) -> impl Process<u64, Output = MessageId, Error = MessageError> {
    move |count: &u64| {
        let version = count + 1;
        let step = Step::new(version).emit(Counted { key: key.to_owned(), version })?;
        let id = *step.messages()[0].id();
        Ok(step.returning(id))
    }
}
