use std::io;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

use outbox_core::Secret;
use redis::aio::{AsyncStream, MultiplexedConnection};
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError, Value};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::endpoint::Endpoint;

/// One connection to the server, which is never repaired: when it is lost or given up, it is gone with everything in it.
///
/// The task that drives it is ours to end, and with it goes what still waits to be sent. Left to the client, it would
/// write on after everybody has given up, and a message that is sent that late may overtake later ones. Only what the
/// operating system had already taken can still arrive.
pub(crate) struct Connection {
    client: MultiplexedConnection,
    driver: Mutex<Option<JoinHandle<()>>>,
    doubtful: AtomicBool,
    looked_at: AtomicBool,
    stopped: AtomicBool,
}

impl Connection {
    /// Connects to the first host that is a primary. A dropped future stops the attempt.
    pub(crate) async fn open(endpoint: &Endpoint, tls: Option<&TlsConnector>) -> Result<Self, RedisError> {
        let mut last = RedisError::from(io::Error::other("no host"));
        for (host, port) in endpoint.hosts() {
            let attempt = timeout(endpoint.connect_timeout, Self::open_one(endpoint, tls, host, port));
            match attempt.await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => last = error,
                Err(_) => {
                    let what = if tls.is_some() { "connecting with TLS" } else { "connecting" };
                    last = io::Error::new(io::ErrorKind::TimedOut, format!("{what} took too long")).into();
                }
            }
        }
        Err(last)
    }

    async fn open_one(
        endpoint: &Endpoint,
        tls: Option<&TlsConnector>,
        host: &str,
        port: u16,
    ) -> Result<Self, RedisError> {
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn AsyncStream + Send + Sync + Unpin> = match tls {
            None => Box::new(stream),
            Some(tls) => {
                let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
                let shaken = tls.connect(name, stream).await;
                Box::new(shaken.map_err(|error| io::Error::new(error.kind(), format!("TLS: {error}")))?)
            }
        };
        // Our own deadlines are the ones that count; the client's half a second would be shorter than a slow disk.
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        let (client, driver) =
            MultiplexedConnection::new_with_config(&login(endpoint), stream, config).await?;
        let connection = Self {
            client,
            driver: Mutex::new(Some(tokio::spawn(driver))),
            doubtful: AtomicBool::new(false),
            looked_at: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        };
        // A server may refuse the client's certificate only after the client believes to be connected. Any other answer
        // will do, also that this user may not ask.
        let role = connection.client().send_packed_command(&redis::cmd("ROLE")).await?;
        if is_replica(&role) {
            return Err(io::Error::other("it is a replica, and only a primary takes messages").into());
        }
        Ok(connection)
    }

    /// A handle to send with.
    pub(crate) fn client(&self) -> MultiplexedConnection {
        self.client.clone()
    }

    pub(crate) fn is_up(&self) -> bool {
        if self.stopped.load(Ordering::Acquire) {
            return false;
        }
        let driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner);
        driver.as_ref().is_some_and(|driver| !driver.is_finished())
    }

    /// Whether it may still hold back a message whose outcome is unknown.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.doubtful.load(Ordering::Acquire)
    }

    pub(crate) fn doubt(&self) {
        self.doubtful.store(true, Ordering::Release);
    }

    /// Whether what the server says about itself was good enough.
    pub(crate) fn is_looked_at(&self) -> bool {
        self.looked_at.load(Ordering::Acquire)
    }

    pub(crate) fn set_looked_at(&self, good: bool) {
        self.looked_at.store(good, Ordering::Release);
    }

    /// Makes it end soon, so that the next call opens another one.
    pub(crate) fn stop(&self) {
        // The driver ends when it is its turn.
        self.stopped.store(true, Ordering::Release);
        if let Some(driver) = &*self.driver.lock().unwrap_or_else(PoisonError::into_inner) {
            driver.abort();
        }
    }

    /// Ends it: afterwards nothing can leave this process through it any more.
    pub(crate) async fn end(&self) {
        let driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(driver) = driver {
            driver.abort();
            let _ = driver.await;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.stop();
    }
}

fn is_replica(role: &Value) -> bool {
    let Value::Array(parts) = role else { return false };
    matches!(parts.first(), Some(Value::BulkString(role)) if role == b"slave")
}

fn login(endpoint: &Endpoint) -> RedisConnectionInfo {
    let mut info = RedisConnectionInfo::default().set_db(endpoint.database).set_skip_set_lib_name();
    if let Some(user) = &endpoint.user {
        info = info.set_username(user);
    }
    if let Some(password) = endpoint.password.as_ref().map(Secret::reveal) {
        info = info.set_password(password);
    }
    info
}
