use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use outbox::relay::Consumer;
use outbox::{ConsumerName, HandlerError, InboxAdmin, MessageHandler, connect_subscription};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use crate::stores::StoreKind;

pub(crate) const CONSUMER: &str = "ledger";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ConsumerSettings {
    pub(crate) store: StoreKind,
    pub(crate) database: String,
    pub(crate) subscription: String,
    /// Of a thousand messages, so many fail before their commit, and with so many the process dies after it.
    pub(crate) failures: u32,
    pub(crate) deaths: u32,
}

/// What goes wrong in a handler, apart from everything else.
pub(crate) struct Misfortune {
    failures: u32,
    deaths: u32,
}

impl Misfortune {
    pub(crate) fn new(settings: &ConsumerSettings) -> Self {
        Self { failures: settings.failures, deaths: settings.deaths }
    }

    /// With everything written and nothing committed.
    pub(crate) fn before_commit(&self) -> Result<(), HandlerError> {
        if fastrand::u32(..1_000) < self.failures {
            return Err(HandlerError::failed("a failure on purpose"));
        }
        Ok(())
    }

    /// With everything committed and nothing acknowledged: the process ends as if it were killed, nothing is dropped,
    /// closed or sent.
    pub(crate) fn after_commit(&self) {
        if fastrand::u32(..10_000) < self.deaths {
            std::process::abort();
        }
    }
}

/// Consumes until it is told to end.
pub(crate) async fn consume(
    settings: ConsumerSettings,
    handler: impl MessageHandler,
    inbox: Arc<dyn InboxAdmin>,
) -> Result<()> {
    let mut told = signal(SignalKind::terminate())?;
    let subscription = connect_subscription(&settings.subscription).await?;
    let consumer = Consumer::new(ConsumerName::new(CONSUMER)?, subscription, handler).inbox(inbox);
    let consumer = consumer
        .configure(|config| {
            config.concurrency = 8;
            config.retry.schedule = [50, 200, 1_000].map(Duration::from_millis).to_vec();
            // Failures on purpose are not to be mistaken for messages that can't be handled.
            config.retry.max_attempts = 50;
            config.busy_pause = Duration::from_millis(100);
            config.handler_timeout = Duration::from_secs(5);
            config.shutdown_timeout = Duration::from_secs(5);
        })
        .start()?;
    tokio::select! {
        _ = told.recv() => {}
        () = super::orphaned() => {}
    }
    consumer.shutdown().await?;
    Ok(())
}
