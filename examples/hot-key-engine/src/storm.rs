use std::collections::HashMap;

use anyhow::Result;
use outbox::MessageError;
use outbox::memory::{Engine, MemoryTransport, Process};
use outbox::relay::Relay;
use tokio::task::JoinSet;

use crate::{Commit, Report, count};

/// Workers that all commit at once.
#[derive(Debug, Clone, Copy)]
pub struct Storm {
    /// How many there are.
    pub workers: usize,
    /// How often each of them commits.
    pub each: usize,
    /// The keys that they take turns with.
    pub keys: usize,
}

impl Storm {
    /// Commits while a relay delivers to a broker in this process, and waits until all is delivered.
    ///
    /// # Errors
    ///
    /// If a worker does not get its turn, or the relay fails.
    pub async fn run(self, engine: &Engine<String, u64>) -> Result<Report> {
        let broker = MemoryTransport::new();
        let relay =
            Relay::new(engine.outbox(), broker.clone()).wakeup(engine.outbox().wakeup()).start().await?;
        let mut workers = JoinSet::new();
        for worker in 0..self.workers {
            workers.spawn(self.work(engine.clone(), worker));
        }
        let mut commits = Vec::new();
        while let Some(worker) = workers.join_next().await {
            commits.extend(worker??);
        }
        relay.drained().await?;
        relay.shutdown().await?;
        Report::compare(&commits, &broker.delivered())
    }

    async fn work(self, engine: Engine<String, u64>, worker: usize) -> Result<Vec<Commit>> {
        let mut commits = Vec::with_capacity(self.each);
        for commit in 0..self.each {
            let key = format!("key-{}", (worker + commit) % self.keys);
            commits.push(engine.run(&*key, slowly(count(&key))).await?.into());
        }
        Ok(commits)
    }

    /// The version that each key has now.
    #[must_use]
    pub fn versions(self, engine: &Engine<String, u64>) -> HashMap<String, u64> {
        (0..self.keys)
            .map(|key| format!("key-{key}"))
            .map(|key| (key.clone(), engine.state(&*key).version()))
            .collect()
    }
}

/// Lets others run between what was read and the swap, as they would if the decision took longer.
fn slowly<P>(process: P) -> impl Process<u64, Output = P::Output, Error = MessageError>
where
    P: Process<u64, Error = MessageError>,
{
    move |count: &u64| {
        let step = process.decide(count);
        std::thread::yield_now();
        step
    }
}
