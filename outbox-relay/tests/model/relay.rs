use crate::database::{Outcome, Row};

/// The process of a relay, and what it believes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Relay {
    /// How often it was started: an answer to an earlier process reaches nobody.
    pub(crate) life: u8,
    pub(crate) crashed: bool,
    pub(crate) paused: bool,
    /// The epoch of the lease that it believes to have.
    pub(crate) lease: Option<u8>,
    /// Its own clock says that the lease holds.
    pub(crate) trusts: bool,
    pub(crate) memory: Memory,
}

/// What a relay has read of the shard, and what is under way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Memory {
    /// What is to be sent next, in this order.
    pub(crate) queue: Vec<Entry>,
    /// It was sent, and there is no answer.
    pub(crate) flight: Option<Entry>,
    /// Decided and not settled.
    pub(crate) decided: Vec<(Entry, Outcome)>,
    /// A settle is under way.
    pub(crate) settling: bool,
}

/// A row as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Entry {
    pub(crate) message: u8,
    pub(crate) seen: Row,
}

impl Relay {
    pub(crate) const fn runs(&self) -> bool {
        !self.crashed && !self.paused
    }

    /// It may begin with something.
    pub(crate) const fn works(&self) -> bool {
        self.runs() && self.lease.is_some() && self.trusts
    }

    /// It has found out that the shard is somebody else's.
    pub(crate) fn loses_lease(&mut self) {
        self.lease = None;
        self.trusts = false;
        self.memory = Memory::default();
    }
}

impl Memory {
    /// Nothing is under way, or waits for it.
    pub(crate) const fn is_at_rest(&self) -> bool {
        self.queue.is_empty() && self.flight.is_none() && self.decided.is_empty() && !self.settling
    }
}
