use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use outbox_core::OutboxMessage;

use super::{MessageSink, SinkError};

type Hook = dyn Fn() + Send + Sync;

/// Where messages are stored, and whom to tell.
pub(super) struct Desk {
    sink: Option<Box<dyn MessageSink>>,
    stored: Mutex<Option<Arc<Hook>>>,
}

impl Desk {
    pub(super) fn new(sink: Option<Box<dyn MessageSink>>) -> Self {
        Self { sink, stored: Mutex::new(None) }
    }

    pub(super) async fn store(&self, messages: &[OutboxMessage]) -> Result<(), Arc<SinkError>> {
        let Some(sink) = &self.sink else {
            return Err(Arc::new(SinkError::from("there is no outbox")));
        };
        sink.store(messages).await.map_err(Arc::new)?;
        self.wake();
        Ok(())
    }

    pub(super) fn wake(&self) {
        let hook = self.stored.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(hook) = hook {
            hook();
        }
    }

    pub(super) fn wakes(&self, hook: Arc<Hook>) {
        *self.stored.lock().unwrap_or_else(PoisonError::into_inner) = Some(hook);
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("sink", &self.sink.is_some()).finish_non_exhaustive()
    }
}
