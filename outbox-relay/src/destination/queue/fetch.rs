//! Fetching what waits behind others in the deferred table.

use std::collections::HashMap;

use outbox_core::{OrderingKey, Seq, StoredMessage};

use super::Queue;
use crate::destination::key::{Fetch, Hold};

impl Queue {
    /// Keys whose waiting messages are to be read from the deferred table. Every fresh row up to `read_upto` has been
    /// taken: of a key whose waiting ones begin beyond that, an earlier one may still come.
    pub(crate) fn start_fetch(&mut self, most: usize, read_upto: Seq) -> Vec<OrderingKey> {
        let mut keys = Vec::new();
        for _ in 0..self.fetchable.len() {
            if keys.len() >= most {
                break;
            }
            let Some(key) = self.fetchable.pop_front() else {
                break;
            };
            let Some(state) = self.keys.get_mut(&key) else {
                continue;
            };
            if !state.can_fetch() {
                continue;
            }
            if matches!(state.hold, Hold::Releasing { first, .. } if first > read_upto) {
                self.fetchable.push_back(key);
                continue;
            }
            state.fetch = Fetch::Running { moves: state.moves };
            keys.push(key);
        }
        keys
    }

    pub(crate) fn wants_fetch(&self) -> bool {
        !self.fetchable.is_empty()
    }

    /// Takes what was read for [`Queue::start_fetch`], by `seq`; `more` if there may be more. Says whether that has brought
    /// anything: what was delivered and is not settled yet is read again, and there may be nothing else on a page.
    ///
    /// Rows beyond `read_upto` are left where they are for now: an earlier fresh one of their key may still come.
    pub(crate) fn fetched(
        &mut self,
        keys: &[OrderingKey],
        rows: Vec<StoredMessage>,
        more: bool,
        read_upto: Seq,
    ) -> bool {
        let mut advanced = false;
        let mut too_early: HashMap<OrderingKey, Seq> = HashMap::new();
        for row in rows {
            // An operator has asked for something since this was read: it is fetched again when that is written.
            let key = row.message.ordering_key().and_then(|key| self.keys.get(key));
            if !key.is_some_and(|state| matches!(state.fetch, Fetch::Running { .. })) {
                continue;
            }
            if row.seq <= read_upto {
                advanced |= self.admit(row);
            } else if let Some(key) = row.message.ordering_key() {
                too_early.entry(key.clone()).or_insert(row.seq);
            }
        }
        for key in keys {
            let Some(state) = self.keys.get_mut(key) else {
                continue;
            };
            let Fetch::Running { moves } = state.fetch else {
                continue;
            };
            // Complete only if nothing was moved there since: such a row may have been too late for this read.
            let complete = !more && moves == state.moves && !too_early.contains_key(key);
            state.fetch = if complete { Fetch::No } else { Fetch::Wanted };
            advanced |= complete;
            match &mut state.hold {
                Hold::Releasing { .. } if complete => state.hold = Hold::Free,
                Hold::Releasing { first, .. } => {
                    if let Some(seq) = too_early.get(key) {
                        *first = *seq;
                    }
                }
                _ => {}
            }
            self.refresh(key);
        }
        advanced
    }

    /// The read failed; it is done again.
    pub(crate) fn fetch_failed(&mut self, keys: &[OrderingKey]) {
        for key in keys {
            if let Some(state) = self.keys.get_mut(key)
                && matches!(state.fetch, Fetch::Running { .. })
            {
                state.fetch = Fetch::Wanted;
                self.refresh(key);
            }
        }
    }
}
