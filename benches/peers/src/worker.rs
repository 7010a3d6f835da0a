use std::sync::Arc;

use anyhow::{Result, bail};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Tells a worker that something was committed.
pub(crate) type Wake = Arc<dyn Fn() + Send + Sync>;

/// A relay, a worker or a loop, which runs until it is told to stop.
pub(crate) struct Worker {
    stop: CancellationToken,
    settled: CancellationToken,
    task: JoinHandle<Result<()>>,
    /// What a writer calls after its commit, for those who do not learn of it from the database.
    pub(crate) wake: Wake,
}

impl Worker {
    /// Runs what gets told to stop, and then finishes what it has begun.
    pub(crate) fn spawn<T>(work: impl FnOnce(CancellationToken) -> T) -> Self
    where
        T: Future<Output = Result<()>> + Send + 'static,
    {
        Self::spawn_with(|stop, _| work(stop))
    }

    /// The same for those who say when everything is settled, because they have more to do at their end.
    pub(crate) fn spawn_with<T>(work: impl FnOnce(CancellationToken, CancellationToken) -> T) -> Self
    where
        T: Future<Output = Result<()>> + Send + 'static,
    {
        let (stop, settled) = (CancellationToken::new(), CancellationToken::new());
        let ended = settled.clone().drop_guard();
        let work = work(stop.clone(), settled.clone());
        let task = tokio::spawn(async move {
            let result = work.await;
            drop(ended);
            result
        });
        Self { stop, settled, task, wake: Arc::new(|| ()) }
    }

    pub(crate) fn woken_by(self, wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self { wake: Arc::new(wake), ..self }
    }

    /// Waits for this, and fails if the worker ends before.
    pub(crate) async fn until(&mut self, done: impl Future<Output = Result<()>>) -> Result<()> {
        tokio::select! {
            done = done => done,
            ended = &mut self.task => {
                ended??;
                bail!("it has ended by itself");
            }
        }
    }

    /// Tells it to stop, and waits until it has settled what it has handed over.
    pub(crate) async fn settled(&self) {
        self.stop.cancel();
        self.settled.cancelled().await;
    }

    /// Waits for its end.
    pub(crate) async fn stop(self) -> Result<()> {
        self.stop.cancel();
        self.task.await?
    }
}
