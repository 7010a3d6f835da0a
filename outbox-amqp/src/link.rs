use std::sync::Arc;

use lapin::tcp::RustlsConnector;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::connection::Connection;
use crate::endpoint::Endpoint;

/// The way to the broker: at most one connection, opened when it is needed.
pub(crate) struct Link {
    endpoint: Endpoint,
    tls: Option<RustlsConnector>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<Arc<Connection>>,
    refused: Option<(Instant, String)>,
}

impl Link {
    pub(crate) fn new(endpoint: Endpoint, tls: Option<RustlsConnector>) -> Self {
        Self { endpoint, tls, state: Mutex::default() }
    }

    /// The connection, opened if there is none that works. The error is a text that says where to and why not.
    pub(crate) async fn connection(&self) -> Result<Arc<Connection>, String> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        if let Some(connection) = state.connection.clone() {
            if connection.is_up() {
                return Ok(connection);
            }
            state.connection = None;
            connection.end();
        }
        // Whoever queued here while an attempt failed has seen it fail; a broker that is down must not be asked by
        // every caller in turn.
        if let Some((when, text)) = &state.refused
            && *when >= asked
        {
            return Err(text.clone());
        }
        match self.open().await {
            Ok(connection) => Ok(state.connection.insert(Arc::new(connection)).clone()),
            Err(text) => {
                state.refused = Some((Instant::now(), text.clone()));
                Err(text)
            }
        }
    }

    async fn open(&self) -> Result<Connection, String> {
        let opened = Connection::open(&self.endpoint, self.tls.as_ref()).await;
        opened.map_err(|error| format!("{}: {error}", self.endpoint.addresses()))
    }

    /// Closes the connection in good order, unless it may hold back something.
    pub(crate) async fn close(&self) {
        let connection = self.state.lock().await.connection.take();
        match connection {
            Some(connection) if !connection.is_doubtful() => connection.close().await,
            Some(connection) => connection.end(),
            None => {}
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
            connection.end();
        }
    }
}
