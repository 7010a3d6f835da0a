use std::sync::Arc;

use outbox_core::PublishError;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::NatsConfig;
use crate::connection::Connection;
use crate::error::{Failure, publish_error};

/// The way to the broker: at most one connection, opened when it is needed.
pub(crate) struct Link {
    config: NatsConfig,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<Arc<Connection>>,
    refused: Option<(Instant, String)>,
}

impl Link {
    pub(crate) fn new(config: NatsConfig) -> Self {
        Self { config, state: Mutex::default() }
    }

    /// The connection, opened if there is none that works.
    pub(crate) async fn connection(&self) -> Result<Arc<Connection>, PublishError> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        if let Some(connection) = state.connection.clone() {
            if connection.is_up() {
                return Ok(connection);
            }
            state.connection = None;
            connection.end().await;
        }
        // Whoever queued here while an attempt failed has seen it fail; a broker that is down must not be asked by
        // every caller in turn.
        if let Some((when, text)) = &state.refused
            && *when >= asked
        {
            return Err(publish_error(Failure::Unreachable(text)));
        }
        match Connection::open(&self.config).await {
            Ok(connection) => Ok(state.connection.insert(Arc::new(connection)).clone()),
            Err(error) => {
                let text = format!("{}: {error}", self.config.addresses());
                let failure = publish_error(Failure::Unreachable(&text));
                state.refused = Some((Instant::now(), text));
                Err(failure)
            }
        }
    }

    /// Ends the connection if it may hold back something, or in any case.
    ///
    /// Only a doubtful one: when several calls end with an unknown outcome, each resets, and the second must not cut
    /// the fresh connection that the first has made room for.
    pub(crate) async fn cut(&self, in_any_case: bool) {
        let mut state = self.state.lock().await;
        let doubted = |connection: &mut Arc<Connection>| in_any_case || connection.is_doubtful();
        if let Some(connection) = state.connection.take_if(doubted) {
            connection.end().await;
        }
    }
}
