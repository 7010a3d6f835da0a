use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;

use super::error::Conflict;
use super::{Engine, Slot, State, Step};

/// A step that was committed.
#[derive(Debug)]
#[non_exhaustive]
pub struct Committed<S, T = ()> {
    /// The state that it made.
    pub state: State<S>,
    /// What the process tells its caller.
    pub output: T,
    /// How often the process was called.
    pub attempts: u32,
}

impl<K: Eq + Hash, S> Engine<K, S> {
    /// The compare-and-swap itself: for those who have to wait for something between reading the state and the step.
    ///
    /// # Errors
    ///
    /// [`Conflict`] if the state is not this one any more. The step is dropped, and nothing of it remains.
    pub fn commit<Q, T>(
        &self,
        key: &Q,
        state: &State<S>,
        mut step: Step<S, T>,
    ) -> Result<Committed<S, T>, Conflict>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + fmt::Debug + ?Sized,
    {
        let messages = step.drain();
        let announce = !messages.is_empty();
        let next = state.successor(step.state);
        let swapped = {
            let mut slots = self.slots();
            let found = slots.get_mut(key);
            match check(found.as_deref(), state) {
                Err(version) => Err(version),
                Ok(()) => {
                    let slot = match found {
                        Some(slot) => slot,
                        None => {
                            let initial = || Slot { state: state.clone(), line: None };
                            slots.entry(key.to_owned()).or_insert_with(initial)
                        }
                    };
                    // Nobody reads a state until the lock is released, so the messages and the state are there at once.
                    if announce {
                        self.outbox.append(messages);
                    }
                    Ok(std::mem::replace(&mut slot.state, next.clone()))
                }
            }
        };
        // Only here, without the lock, is the old value dropped and the key written: both is the user's code.
        swapped.map(drop).map_err(|found| conflict(key, state, found))?;
        if announce {
            self.outbox.announce();
        }
        Ok(Committed { state: next, output: step.output, attempts: 1 })
    }

    /// Forgets a key, if this is still its state. What was committed stays in the outbox. The key counts its versions
    /// from 0 again.
    ///
    /// # Errors
    ///
    /// [`Conflict`] if the state is not this one any more.
    pub fn remove<Q>(&self, key: &Q, state: &State<S>) -> Result<(), Conflict>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + fmt::Debug + ?Sized,
    {
        let removed = {
            let mut slots = self.slots();
            check(slots.get(key), state).map(|()| slots.remove_entry(key))
        };
        removed.map(drop).map_err(|found| conflict(key, state, found))
    }
}

/// The comparison; its error is the version that was found. A key without a state has the default, and every default is
/// the same.
fn check<S>(slot: Option<&Slot<S>>, expected: &State<S>) -> Result<(), u64> {
    match slot {
        None if expected.version() == 0 => Ok(()),
        Some(slot) if slot.state.is(expected) => Ok(()),
        other => Err(other.map_or(0, |slot| slot.state.version())),
    }
}

fn conflict<Q: fmt::Debug + ?Sized, S>(key: &Q, expected: &State<S>, found: u64) -> Conflict {
    Conflict { key: format!("{key:?}"), expected: expected.version(), found }
}
