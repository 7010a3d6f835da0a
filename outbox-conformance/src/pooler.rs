//! What stands in front of many a PostgreSQL: a pooler that gives each transaction another connection.

use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

/// A transaction pooler of PostgreSQL, as pgbouncer is one with `pool_mode = transaction`: a client keeps a connection to
/// the server for as long as its transaction is open, and gets the one that was used last for its next one. Settings of
/// a session, prepared statements and notifications go to whoever has that connection then.
///
/// Ends, with all its connections, when it is dropped.
#[derive(Debug)]
pub struct Pooler {
    port: u16,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    server: u16,
    /// Connections that no transaction has.
    idle: Mutex<Vec<TcpStream>>,
    given_back: Notify,
    clients: Mutex<JoinSet<io::Result<()>>>,
}

impl Pooler {
    /// In front of the server at this port.
    ///
    /// # Panics
    ///
    /// If no port is free.
    pub async fn to(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Shared {
            server,
            idle: Mutex::default(),
            given_back: Notify::new(),
            clients: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Self { port, shared, accepting }
    }

    /// Where it listens, at 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        self.accepting.abort();
        self.shared.clients.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let serving = serve(client, Arc::clone(&shared));
        shared.clients.lock().unwrap_or_else(PoisonError::into_inner).spawn(serving);
    }
}

impl Shared {
    /// The connection that was given back last.
    async fn take(&self) -> TcpStream {
        loop {
            let given_back = self.given_back.notified();
            let last = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match last {
                Some(server) => return server,
                None => given_back.await,
            }
        }
    }

    fn give_back(&self, server: TcpStream) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(server);
        self.given_back.notify_one();
    }
}

/// A client, until it goes.
async fn serve(mut client: TcpStream, shared: Arc<Shared>) -> io::Result<()> {
    client.set_nodelay(true)?;
    let server = log_in(&mut client, shared.server).await?;
    shared.give_back(server);
    let mut held = None;
    loop {
        // All up to where the server answers.
        let mut requests = Vec::new();
        loop {
            let request = message(&mut client).await?;
            requests.extend_from_slice(&request);
            match request[0] {
                SYNC | QUERY => break,
                // What is held of it has an open transaction, and is of no use to anybody.
                TERMINATE => return Ok(()),
                _ => {}
            }
        }
        let mut server = match held.take() {
            Some(server) => server,
            None => shared.take().await,
        };
        server.write_all(&requests).await?;
        if pass_until_ready(&mut server, &mut client).await? == NO_TRANSACTION {
            shared.give_back(server);
        } else {
            held = Some(server);
        }
    }
}

const QUERY: u8 = b'Q';
const SYNC: u8 = b'S';
const TERMINATE: u8 = b'X';
const AUTHENTICATION: u8 = b'R';
const READY: u8 = b'Z';
/// The state that comes with `READY`.
const NO_TRANSACTION: u8 = b'I';
/// A request for encryption, instead of a version of the protocol: of TLS, of GSSAPI.
const ENCRYPTION: [u32; 2] = [80_877_103, 80_877_104];

/// A connection to the server in the name of a client.
async fn log_in(client: &mut TcpStream, server: u16) -> io::Result<TcpStream> {
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await?;
    server.set_nodelay(true)?;
    let startup = loop {
        let startup = body(client, Vec::new()).await?;
        let version = startup.get(4..8).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
        if version.is_some_and(|version| ENCRYPTION.contains(&version)) {
            client.write_all(b"N").await?;
        } else {
            break startup;
        }
    };
    server.write_all(&startup).await?;
    loop {
        let answer = message(&mut server).await?;
        client.write_all(&answer).await?;
        match answer[0] {
            READY => return Ok(server),
            // All but "welcome" and the last word of SASL ask for something.
            AUTHENTICATION if !matches!(answer.get(8), Some(0 | 12)) => {
                let password = message(client).await?;
                server.write_all(&password).await?;
            }
            _ => {}
        }
    }
}

/// Passes answers on, and returns in which state the server is then.
async fn pass_until_ready(server: &mut TcpStream, client: &mut TcpStream) -> io::Result<u8> {
    loop {
        let answer = message(server).await?;
        client.write_all(&answer).await?;
        if answer[0] == READY {
            return Ok(answer.get(5).copied().unwrap_or(NO_TRANSACTION));
        }
    }
}

/// A message with its type.
async fn message(from: &mut TcpStream) -> io::Result<Vec<u8>> {
    let kind = from.read_u8().await?;
    body(from, vec![kind]).await
}

/// The length of a message and what follows, behind what was read before.
async fn body(from: &mut TcpStream, mut message: Vec<u8>) -> io::Result<Vec<u8>> {
    let length = from.read_u32().await?;
    message.extend_from_slice(&length.to_be_bytes());
    let begin = message.len();
    let rest = usize::try_from(length).unwrap_or_default().saturating_sub(4);
    message.resize(begin + rest, 0);
    from.read_exact(&mut message[begin..]).await?;
    Ok(message)
}
