use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use outbox_core::CommitHint;
use outbox_relay::{RelayMonitor, Waker};

use super::hints::Notify;

/// Tells relays that something was committed. Cheap, never blocks, never fails, may be called at any rate, and may be handed
/// out before there is a relay. A clone is another handle to the same.
///
/// Whom it tells is a matter of `wakeups` in the configuration:
///
/// * the relay of this process, unless `in_process` is off;
/// * relays in other processes, by a notification of PostgreSQL (`listen`) and by Redis (`redis_url`), at most once every
///   few milliseconds. While the relay of this process owns all shards there is nothing that they could do, and so they
///   are not told.
///
/// A hint that is lost, or told to nobody, costs a polling interval, never a message. A writer takes it by `with_hint`, and
/// then gives the hints by itself.
#[derive(Clone)]
pub struct OutboxWaker {
    inner: Arc<Inner>,
}

struct Inner {
    in_process: bool,
    /// The relay of this process, while it runs.
    own: RwLock<Option<Own>>,
    others: Vec<Notify>,
}

struct Own {
    waker: Waker,
    monitor: RelayMonitor,
}

impl OutboxWaker {
    pub(super) fn new(in_process: bool, others: Vec<Notify>) -> Self {
        Self { inner: Arc::new(Inner { in_process, own: RwLock::new(None), others }) }
    }

    /// Call it after the commit.
    pub fn wake(&self) {
        self.tell(Waker::wake);
    }

    /// The relay of this process by its own kind of hint, the others by the one that they know.
    fn tell(&self, hint: impl FnOnce(&Waker)) {
        let Inner { in_process, own, others } = &*self.inner;
        if *in_process {
            let own = own.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(Own { waker, monitor }) = &*own {
                hint(waker);
                if owns_everything(monitor) {
                    return;
                }
            }
        }
        others.iter().for_each(|notify| notify());
    }

    pub(super) fn belongs_to(&self, relay: Option<(Waker, RelayMonitor)>) {
        let own = relay.map(|(waker, monitor)| Own { waker, monitor });
        *self.inner.own.write().unwrap_or_else(PoisonError::into_inner) = own;
    }
}

fn owns_everything(monitor: &RelayMonitor) -> bool {
    let leases = monitor.leases();
    leases.trusted && leases.shards == leases.of
}

/// In another process both hints are the same: who hears one looks at once, and then for a while in short steps.
impl CommitHint for OutboxWaker {
    fn expected(&self) {
        self.tell(CommitHint::expected);
    }

    fn committed(&self) {
        self.wake();
    }
}

impl fmt::Debug for OutboxWaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxWaker")
            .field("in_process", &self.inner.in_process)
            .field("others", &self.inner.others.len())
            .finish_non_exhaustive()
    }
}
