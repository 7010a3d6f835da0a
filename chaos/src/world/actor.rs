use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::log::Log;
use crate::stores::server::signal;

type Make = Box<dyn Fn() -> Result<Command> + Send + Sync>;

/// SIGABRT: how a consumer ends that dies between its commit and its acknowledgement.
const ABORTED: i32 = 6;

/// A process that lives many lives.
pub(crate) struct Actor {
    pub(crate) name: String,
    make: Make,
    child: Mutex<Option<Child>>,
    /// Whether it is to be there.
    wanted: AtomicBool,
    /// Whoever does something to it.
    pub(crate) busy: tokio::sync::Mutex<()>,
    /// How often it has aborted itself, as it was told to now and then.
    pub(crate) aborted: AtomicU32,
    /// How often it has ended by itself otherwise.
    pub(crate) ended: AtomicU32,
}

impl Actor {
    pub(super) fn new(name: impl Into<String>, make: Make) -> Self {
        Self {
            name: name.into(),
            make,
            child: Mutex::new(None),
            wanted: AtomicBool::new(false),
            busy: tokio::sync::Mutex::new(()),
            aborted: AtomicU32::new(0),
            ended: AtomicU32::new(0),
        }
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn start(&self) -> Result<()> {
        let mut child = self.child();
        if child.is_none() {
            *child = Some((self.make)()?.spawn()?);
        }
        self.wanted.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// As if the machine had lost power.
    pub(crate) fn kill(&self) -> Result<()> {
        self.wanted.store(false, Ordering::SeqCst);
        if let Some(mut child) = self.child().take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        match self.child().as_ref() {
            Some(child) => signal(name, &[child.id()]),
            None => Ok(()),
        }
    }

    /// Tells it to end, and waits for that.
    ///
    /// # Errors
    ///
    /// If it takes too long; it is killed then.
    pub(crate) async fn stop(&self, limit: Duration) -> Result<ExitStatus> {
        self.wanted.store(false, Ordering::SeqCst);
        let Some(mut child) = self.child().take() else { return Ok(ExitStatus::default()) };
        signal("-TERM", &[child.id()])?;
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                child.kill()?;
                child.wait()?;
                bail!("{} did not end {limit:?} after it was told to", self.name);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Starts it again if it has ended by itself.
    pub(super) fn revive(&self, log: &Log) {
        if !self.wanted.load(Ordering::SeqCst) {
            return;
        }
        let mut child = self.child();
        let Some(status) = child.as_mut().and_then(|child| child.try_wait().ok().flatten()) else { return };
        let counter = if status.signal() == Some(ABORTED) { &self.aborted } else { &self.ended };
        counter.fetch_add(1, Ordering::SeqCst);
        log.add(format!("{} has ended by itself: {status}", self.name));
        *child = None;
        match (self.make)().and_then(|mut command| Ok(command.spawn()?)) {
            Ok(next) => *child = Some(next),
            Err(error) => log.add(format!("{} can't be started: {error:#}", self.name)),
        }
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // A process that is stopped dies of this signal, too.
        let _ = self.kill();
    }
}
