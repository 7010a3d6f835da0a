use std::sync::atomic::{AtomicBool, Ordering};

use outbox_core::StoreError;

/// One log line when the database goes away, one when it is back, however many tasks notice and however often they
/// try.
#[derive(Debug, Default)]
pub(crate) struct StoreHealth {
    down: AtomicBool,
}

impl StoreHealth {
    pub(crate) fn failed(&self, error: &StoreError) {
        if !self.down.swap(true, Ordering::Relaxed) {
            let source = std::error::Error::source(error).map(ToString::to_string);
            tracing::error!(error = %error, source, "the database does not answer; trying again with a growing pause");
        }
    }

    pub(crate) fn succeeded(&self) {
        // A plain load first: this runs after every read and settle.
        if self.down.load(Ordering::Relaxed) && self.down.swap(false, Ordering::Relaxed) {
            tracing::info!("the database answers again");
        }
    }
}
