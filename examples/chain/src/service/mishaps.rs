//! What goes wrong on purpose, and the book that is kept about it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use outbox::{HandlerError, MessageHandler, OutboxMessage, Processed};

use crate::run::Run;

/// How often something goes wrong.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Mishaps {
    /// The part of the handlers that fail after they have written everything
    #[arg(long, default_value_t = 0.0)]
    pub(crate) fail: f64,
    /// The part of the messages with which the process aborts: after the commit, before the message is acknowledged
    #[arg(long, default_value_t = 0.0)]
    pub(crate) abort: f64,
    /// Where the random numbers begin
    #[arg(long, default_value = "0", value_parser = random)]
    pub(crate) seed: Random,
}

/// Random numbers that all handlers share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Random(Arc<Mutex<fastrand::Rng>>);

fn random(seed: &str) -> Result<Random, std::num::ParseIntError> {
    Ok(Random(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed.parse()?)))))
}

impl Mishaps {
    fn happens(&self, part: f64) -> bool {
        self.seed.0.lock().unwrap_or_else(PoisonError::into_inner).f64() < part
    }

    /// An error now and then, as the last thing in a transaction: all of it is rolled back.
    pub(crate) fn maybe_fail(&self) -> Result<(), HandlerError> {
        if self.happens(self.fail) { Err(HandlerError::failed("a failure on purpose")) } else { Ok(()) }
    }
}

/// A handler whose outcomes are written to a file, which outlives a process that is killed; and that sometimes aborts the
/// process at the worst of all moments.
pub(crate) struct Observed<H> {
    service: &'static str,
    book: File,
    mishaps: Mishaps,
    handler: H,
}

impl<H: MessageHandler> Observed<H> {
    pub(crate) fn new(service: &'static str, run: &Run, mishaps: &Mishaps, handler: H) -> Result<Self> {
        let book = OpenOptions::new().create(true).append(true).open(run.book())?;
        Ok(Self { service, book, mishaps: mishaps.clone(), handler })
    }

    fn note(&self, what: &str) -> Result<(), std::io::Error> {
        (&self.book).write_all(format!("{} {what}\n", self.service).as_bytes())
    }
}

impl<H: MessageHandler> MessageHandler for Observed<H> {
    async fn handle(&self, message: &OutboxMessage) -> Result<Processed, HandlerError> {
        let handled = self.handler.handle(message).await;
        self.note(match &handled {
            Ok(Processed::Applied(())) => "applied",
            Ok(Processed::Duplicate) => "duplicate",
            Ok(Processed::Busy) => "busy",
            Ok(Processed::Skipped) => "skipped",
            Err(_) => "failed",
        })?;
        if matches!(handled, Ok(Processed::Applied(()))) && self.mishaps.happens(self.mishaps.abort) {
            self.note("aborted")?;
            std::process::abort();
        }
        handled
    }
}
