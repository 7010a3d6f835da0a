use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use diesel::QueryResult;
use diesel::result::Error;
use outbox_core::{StoreError, StoreErrorKind};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// The threads that wait for the database.
///
/// A thread can't be stopped. One that nobody waits for any more goes on until the database answers; that there are never
/// many of them is what this is for.
pub(super) struct Threads {
    free: Arc<Semaphore>,
}

impl Threads {
    pub(super) fn new(most: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(most)) }
    }

    /// Runs a job on a thread. When this future is dropped, the job is told so.
    pub(super) async fn run<T, F>(&self, operation: &'static str, job: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Cut) -> Result<T, StoreError> + Send + 'static,
    {
        let waiting = Waiting(Arc::default());
        let cut = Cut(Arc::clone(&waiting.0));
        let free = Arc::clone(&self.free).acquire_owned().await.map_err(|_| stopped(operation))?;
        let thread = tokio::task::spawn_blocking(move || {
            let _free = free;
            job(&cut)
        });
        match thread.await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(stopped(operation)),
            },
        }
    }
}

/// Drops what may block while it is dropped: to close a connection is a message, or the write-back of a log.
pub(super) fn drop_elsewhere<T: Send + 'static>(things: Vec<T>) {
    if let (false, Ok(runtime)) = (things.is_empty(), Handle::try_current()) {
        runtime.spawn_blocking(move || drop(things));
    }
}

fn stopped(operation: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, operation, "the runtime is shutting down")
}

/// Held by whoever waits for a job.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Whether nobody waits for a job any more.
pub(super) struct Cut(Arc<AtomicBool>);

impl Cut {
    /// For the tests of those who ask.
    #[cfg(all(test, feature = "sqlite"))]
    pub(super) fn already(cut: bool) -> Self {
        Self(Arc::new(AtomicBool::new(cut)))
    }

    /// Ends a job that nobody waits for, before it goes on to its next statement.
    pub(super) fn check(&self) -> QueryResult<()> {
        if self.0.load(Ordering::Relaxed) { Err(Error::RollbackTransaction) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_job_that_nobody_waits_for_is_told_so() {
        let threads = Threads::new(1);
        let ((go, wait), (tell, told)) = (mpsc::channel::<()>(), mpsc::channel());
        let job = move |cut: &Cut| {
            wait.recv().unwrap();
            tell.send(cut.check()).unwrap();
            Ok(())
        };
        assert!(threads.run("test", job).now_or_never().is_none());
        go.send(()).unwrap();
        assert_eq!(told.recv().unwrap(), Err(Error::RollbackTransaction));
    }

    #[tokio::test]
    async fn a_job_that_is_waited_for_goes_on() {
        let checked = Threads::new(1).run("test", |cut| Ok(cut.check())).await;
        assert_eq!(checked.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn a_thread_that_goes_on_alone_still_counts() {
        let threads = Threads::new(1);
        let (go, wait) = mpsc::channel::<()>();
        let job = move |_: &Cut| {
            wait.recv().unwrap();
            Ok(())
        };
        let forgotten = threads.run("test", job);
        assert!(forgotten.now_or_never().is_none());
        let mut next = std::pin::pin!(threads.run("test", |_| Ok(7)));
        for _ in 0..10 {
            tokio::task::yield_now().await;
            assert!((&mut next).now_or_never().is_none());
        }
        go.send(()).unwrap();
        assert_eq!(next.await.unwrap(), 7);
    }
}
