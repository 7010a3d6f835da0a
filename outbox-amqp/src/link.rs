use std::sync::Arc;

use lapin::tcp::RustlsConnector;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use crate::connection::Connection;
use crate::endpoint::Endpoint;

/// The way to the broker: at most one connection, opened when it is needed.
pub(crate) struct Link {
    endpoint: Endpoint,
    tls: Option<RustlsConnector>,
    state: Mutex<State>,
    /// Beside the state, so that it ends an attempt that is under way and has that.
    closed: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    connection: Option<Arc<Connection>>,
    refused: Option<(Instant, String)>,
    /// The number of the host that is asked first.
    next_host: usize,
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum NoConnection {
    /// The link is closed.
    Closed,
    /// The text says where to and why not.
    Unreachable(String),
}

impl Link {
    pub(crate) fn new(endpoint: Endpoint, tls: Option<RustlsConnector>) -> Self {
        Self { endpoint, tls, state: Mutex::default(), closed: watch::Sender::new(false) }
    }

    /// The connection, opened if there is none that works; never after the link was closed.
    pub(crate) async fn connection(&self) -> Result<Arc<Connection>, NoConnection> {
        tokio::select! {
            // First, so that nothing that was opened at the same time is handed out.
            biased;
            () = self.closed() => Err(NoConnection::Closed),
            found = self.found_or_opened() => found.map_err(NoConnection::Unreachable),
        }
    }

    async fn found_or_opened(&self) -> Result<Arc<Connection>, String> {
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
        let mut attempt = Attempt::new(&mut state, format!("{}: timed out", self.endpoint.addresses()));
        match self.open(&mut attempt.state.next_host).await {
            Ok(connection) => Ok(attempt.succeeded(connection)),
            Err(text) => {
                attempt.failure = Some(text.clone());
                Err(text)
            }
        }
    }

    async fn open(&self, next_host: &mut usize) -> Result<Connection, String> {
        let opened = Connection::open(&self.endpoint, self.tls.as_ref(), next_host).await;
        opened.map_err(|error| format!("{}: {error}", self.endpoint.addresses()))
    }

    async fn closed(&self) {
        // The sender is here, so that it can't be gone.
        drop(self.closed.subscribe().wait_for(|closed| *closed).await);
    }

    /// Closes the connection in good order, unless it may hold back something; and for good.
    pub(crate) async fn close(&self) {
        self.closed.send_replace(true);
        let connection = self.state.lock().await.connection.take();
        match connection {
            Some(connection) if !connection.is_doubtful() => connection.close().await,
            Some(connection) => connection.end(),
            None => {}
        }
    }

    /// Ends the connection whatever it holds back, and for good: afterwards nothing can leave this process by this link.
    pub(crate) async fn end(&self) {
        self.closed.send_replace(true);
        if let Some(connection) = self.state.lock().await.connection.take() {
            connection.end();
        }
    }

    /// Ends the connection if it may hold back something. The next one who asks gets another one.
    ///
    /// Only a doubtful one: when several calls end with an unknown outcome, each resets, and the second must not cut
    /// the fresh connection that the first has made room for.
    pub(crate) async fn cut(&self) {
        let mut state = self.state.lock().await;
        if let Some(connection) = state.connection.take_if(|connection| connection.is_doubtful()) {
            connection.end();
        }
    }
}

/// An attempt to connect. One that is dropped half-way has failed as well, for those who queued meanwhile: they would go
/// on with the little time that is left to them, and be cut short in their turn.
struct Attempt<'a> {
    state: &'a mut State,
    failure: Option<String>,
}

impl<'a> Attempt<'a> {
    const fn new(state: &'a mut State, failure: String) -> Self {
        Self { state, failure: Some(failure) }
    }

    fn succeeded(mut self, connection: Connection) -> Arc<Connection> {
        self.failure = None;
        self.state.connection.insert(Arc::new(connection)).clone()
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if let Some(text) = self.failure.take() {
            self.state.refused = Some((Instant::now(), text));
        }
    }
}
