use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::attempts::{Attempts, patience};
use super::error::{Conflict, RunError};
use super::{Committed, Engine, Process};

impl<K: Eq + Hash, S: Default> Engine<K, S> {
    /// Runs a process on the state of a key and commits its step; after a conflict again, as long as the policy allows.
    ///
    /// # Errors
    ///
    /// [`RunError::Busy`] if every attempt lost to another commit, or its turn did not come in time;
    /// [`RunError::Process`] if the process failed. Nothing is committed then.
    ///
    /// # Panics
    ///
    /// With the process. Nothing is committed then, and the engine goes on.
    ///
    /// # Cancel safety
    ///
    /// Yes. It waits only before and between attempts, when nothing is committed.
    pub async fn run<Q, P>(&self, key: &Q, process: P) -> Result<Committed<S, P::Output>, RunError<P::Error>>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + fmt::Debug + ?Sized,
        P: Process<S>,
    {
        // A task that does nothing but run processes never waits; now and then it lets others go first.
        tokio::task::consume_budget().await;
        let mut attempts = Attempts::of(&self.policy);
        let mut line = self.line_where_others_stand(key).filter(|_| !patience(&self.policy).is_zero());
        let mut turn = None;
        loop {
            if let Some(line) = line.take() {
                match timeout(patience(&self.policy), line.acquire_owned()).await {
                    // A line is never closed.
                    Ok(permit) => turn = permit.ok(),
                    Err(_) => {
                        return Err(attempts.busy(format!("{key:?}"), self.state(key).version()).into());
                    }
                }
            }
            match self.attempt(key, &process, attempts.begin())? {
                Ok(committed) => return Ok(committed),
                Err(conflict) => {
                    let pause = attempts.lost(conflict)?;
                    line = if turn.is_none() { self.line(key) } else { None };
                    if line.is_none() {
                        // Its turn did not help against commits of those who stand in no line.
                        tokio::time::sleep(pause).await;
                    }
                }
            }
        }
    }

    /// The line of a key, if somebody has the turn there. Nobody has to stand in it: the comparison decides who commits.
    fn line_where_others_stand<Q>(&self, key: &Q) -> Option<Arc<Semaphore>>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let line = self.slots().get(key)?.line.clone()?;
        (line.available_permits() == 0).then_some(line)
    }

    /// The line of a key; none if its state was removed meanwhile.
    fn line<Q>(&self, key: &Q) -> Option<Arc<Semaphore>>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let mut slots = self.slots();
        let line = slots.get_mut(key)?.line.get_or_insert_with(|| Arc::new(Semaphore::new(1)));
        Some(Arc::clone(line))
    }

    #[expect(clippy::type_complexity, reason = "the two ways an attempt ends are handled differently")]
    fn attempt<Q, P>(
        &self,
        key: &Q,
        process: &P,
        number: u32,
    ) -> Result<Result<Committed<S, P::Output>, Conflict>, RunError<P::Error>>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + fmt::Debug + ?Sized,
        P: Process<S>,
    {
        let state = self.state(key);
        let step = process.decide(&state).map_err(RunError::Process)?;
        Ok(self.commit(key, &state, step).map(|committed| Committed { attempts: number, ..committed }))
    }
}
