use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::PublisherConfig;
use crate::breaker::{Breaker, Change, Permission};
use crate::metrics::Calls;

/// The circuit breaker of one destination, for callers that overlap.
#[derive(Debug)]
pub(super) struct Circuit {
    calls: Calls,
    state: Mutex<State>,
    opened: Notify,
}

#[derive(Debug)]
struct State {
    breaker: Breaker,
    /// How often it has opened. What was sent before it last did says nothing about the broker of now.
    openings: u64,
}

/// What a call may send.
#[derive(Debug)]
pub(super) enum Ticket<'a> {
    /// Anything.
    Free(Sent<'a>),
    /// One message, to see whether the broker is back.
    Probe(Sent<'a>),
    /// Nothing.
    No,
}

/// Something that is sent. If it is dropped without an answer, its outcome is unknown.
#[derive(Debug)]
pub(super) struct Sent<'a> {
    circuit: &'a Circuit,
    openings: u64,
    answered: bool,
}

impl Circuit {
    pub(super) fn new(calls: Calls, config: &PublisherConfig) -> Self {
        let breaker = Breaker::new(config.breaker_first, config.breaker_longest);
        Self { calls, state: Mutex::new(State { breaker, openings: 0 }), opened: Notify::new() }
    }

    /// Whether something may be sent, or one message to try it.
    pub(super) fn may_send(&self) -> bool {
        self.is_closed() || self.may_probe()
    }

    /// Whether it is time to try.
    pub(super) fn may_probe(&self) -> bool {
        self.state().breaker.permission(Instant::now()) == Permission::Probe
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().breaker.is_closed()
    }

    /// Whoever gets a probe sends it, or nobody else does.
    pub(super) fn ask(&self) -> Ticket<'_> {
        let mut state = self.state();
        let sent = |openings| Sent { circuit: self, openings, answered: false };
        match state.breaker.permission(Instant::now()) {
            Permission::Free => Ticket::Free(sent(state.openings)),
            Permission::Probe => {
                self.change(&mut state, Breaker::probe_started);
                Ticket::Probe(sent(state.openings))
            }
            Permission::Not { .. } | Permission::ProbeUnderWay => Ticket::No,
        }
    }

    /// Ends when it opens; at once, if it is open.
    pub(super) async fn opened(&self) {
        let opened = self.opened.notified();
        tokio::pin!(opened);
        // From here on no notification is missed.
        opened.as_mut().enable();
        if self.is_closed() {
            opened.await;
        }
    }

    /// Reports its state, whether it has changed or not.
    pub(super) fn tell(&self) {
        self.calls.breaker(self.state().breaker.state());
    }

    /// Changes its state and reports that. The lock is kept meanwhile: the gauge is to show the last of two changes.
    fn change<R>(&self, state: &mut State, change: impl FnOnce(&mut Breaker) -> R) -> R {
        let before = state.breaker.state();
        let result = change(&mut state.breaker);
        if state.breaker.state() != before {
            self.calls.breaker(state.breaker.state());
        }
        result
    }

    fn destination(&self) -> &str {
        self.calls.destination()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sent<'_> {
    /// The broker has taken or refused something, so it is there.
    pub(super) fn answered(mut self) {
        self.answered = true;
        let mut state = self.circuit.state();
        if state.openings == self.openings
            && self.circuit.change(&mut state, Breaker::succeeded) == Change::Closed
        {
            tracing::info!(
                destination = self.circuit.destination(),
                "the broker takes messages again; they are published at once"
            );
        }
    }

    /// The broker is away or does not answer.
    pub(super) fn failed(mut self, error: &str) {
        self.answered = true;
        let mut state = self.circuit.state();
        let unavailable = |breaker: &mut Breaker| breaker.unavailable(Instant::now());
        if state.openings == self.openings && self.circuit.change(&mut state, unavailable) == Change::Opened {
            state.openings += 1;
            tracing::error!(
                destination = self.circuit.destination(),
                error,
                "the broker is not available; messages go to the outbox"
            );
            drop(state);
            self.circuit.opened.notify_waiters();
        }
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        if !self.answered {
            let mut state = self.circuit.state();
            if state.openings == self.openings {
                self.circuit.change(&mut state, |breaker| breaker.probe_inconclusive(Instant::now()));
            }
        }
    }
}
