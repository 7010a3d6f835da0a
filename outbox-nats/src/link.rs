use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::connection::Connection;
use crate::endpoint::Endpoint;

/// The way to the broker: at most one connection, opened when it is needed.
pub(crate) struct Link {
    endpoint: Endpoint,
    acks_in_flight: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<Arc<Connection>>,
    refused: Option<(Instant, String)>,
}

/// No connection; the text says where to, and why.
#[derive(Debug)]
pub(crate) struct Unreachable(pub(crate) String);

impl Link {
    /// For so many acknowledgements of publishes at once.
    pub(crate) fn new(endpoint: Endpoint, acks_in_flight: usize) -> Self {
        Self { endpoint, acks_in_flight, state: Mutex::default() }
    }

    /// The connection, opened if there is none that works.
    ///
    /// # Errors
    ///
    /// A text that says where to, and why not.
    pub(crate) async fn connection(&self) -> Result<Arc<Connection>, Unreachable> {
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
            return Err(Unreachable(text.clone()));
        }
        match Connection::open(&self.endpoint, self.acks_in_flight).await {
            Ok(connection) => Ok(state.connection.insert(Arc::new(connection)).clone()),
            Err(reason) => {
                let text = format!("{}: {reason}", self.endpoint.addresses());
                state.refused = Some((Instant::now(), text.clone()));
                Err(Unreachable(text))
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
