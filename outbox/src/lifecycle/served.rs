//! Metrics and health, where they are served.

use super::StartError;
use crate::Config;
use crate::config::Brought;
#[cfg(feature = "http")]
use crate::observe::{Observer, Observing};

/// What serves them: how it is to be made, if the application has said anything about it.
#[derive(Default)]
pub(super) struct Serving {
    #[cfg(feature = "http")]
    pub(super) observer: Observer,
}

/// What is served.
#[derive(Default)]
pub(super) struct Served {
    #[cfg(feature = "http")]
    pub(super) observing: Option<Observing>,
}

#[cfg(feature = "http")]
impl Serving {
    /// Before the relay, which is added as soon as it runs: an address that is taken is found out while nothing was begun.
    pub(super) async fn start(
        self,
        config: &Config,
        brought: &Brought,
        has_table: bool,
    ) -> Result<Served, StartError> {
        if !config.metrics.enabled {
            return Ok(Served::default());
        }
        let mut observer = self.observer;
        if has_table {
            // With connections of its own, where that is possible: the relay must not wait for those who count its rows.
            observer = observer.store(match config.store.url {
                Some(_) => config.connect_store().await?,
                None => config.store_of(brought).await?,
            });
        }
        let observing = observer.serve(config.metrics.listen).await?;
        Ok(Served { observing: Some(observing) })
    }
}

#[cfg(not(feature = "http"))]
impl Serving {
    pub(super) async fn start(self, config: &Config, _: &Brought, _: bool) -> Result<Served, StartError> {
        if config.metrics.enabled {
            tracing::warn!(
                "metrics.enabled is on, and the feature `http` of the crate `outbox` is off: nothing is served"
            );
        }
        Ok(Served::default())
    }
}

impl Served {
    /// To the end of the requests that are under way.
    pub(super) async fn shutdown(self) {
        #[cfg(feature = "http")]
        if let Some(observing) = self.observing {
            observing.shutdown().await;
        }
    }
}
