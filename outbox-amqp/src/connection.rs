use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_compat::Compat;
use lapin::options::ConfirmSelectOptions;
use lapin::tcp::RustlsConnector;
use lapin::uri::AMQPUri;
use lapin::{AsyncTcpStream, Channel, ConnectionProperties};
use socket2::{SockRef, Socket};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use crate::endpoint::Endpoint;
use crate::probe::{self, Probe};
use crate::quiet;

/// How long a good-bye may take; the broker notices anyway.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// One connection to the broker, which is never repaired: when it is lost or given up, it is gone with everything in it.
///
/// The client keeps frames in a queue of its own while the broker has blocked the connection, and writes them when that
/// is over, also for callers that have long given up. Therefore the socket is ours to shut: whatever the client still
/// holds back then can't be written any more. Only what the operating system had already taken can still arrive.
pub(crate) struct Connection {
    client: lapin::Connection,
    socket: Handle,
    idle: Mutex<Vec<Channel>>,
    /// Topics whose queue was declared.
    pub(crate) declared: Mutex<HashSet<String>>,
    doubtful: AtomicBool,
    /// Whoever waits here is told by the answer that the one before has got.
    probe: tokio::sync::Mutex<Probe>,
}

/// Whether the broker takes messages.
pub(crate) enum Readiness {
    Takes,
    /// It has an alarm.
    Blocked,
    /// It did not answer in time.
    Silent,
}

/// A second handle of the socket.
type Handle = Arc<Mutex<Option<Socket>>>;

impl Connection {
    /// Connects to the first host that answers, from the one with the number `next` on. A dropped future stops the attempt.
    ///
    /// Afterwards `next` is the host that has answered, or the one behind those that had their time, also when the attempt
    /// was stopped: a silent host does not stand in the way of those behind it.
    pub(crate) async fn open(
        endpoint: &Endpoint,
        tls: Option<&RustlsConnector>,
        next: &mut usize,
    ) -> Result<Self, String> {
        let mut last = String::from("no host");
        let hosts: Vec<(usize, AMQPUri)> = endpoint.uris().enumerate().collect();
        let (count, begin) = (hosts.len(), *next);
        for (tried, (host, uri)) in hosts.into_iter().cycle().skip(begin).take(count).enumerate() {
            let behind = (host + 1) % count;
            // Only the first one has all of the caller's time. Another one may be asked in the last moment of it, and is
            // passed over only when it has failed.
            if tried == 0 {
                *next = behind;
            }
            let what = if endpoint.tls.required { "connecting with TLS" } else { "connecting" };
            let socket = Handle::default();
            // An attempt that takes too long, or is given up, leaves no socket behind.
            let mut shut = Shut(Some(socket.clone()));
            match timeout(endpoint.connect_timeout, open_one(uri, tls.cloned(), socket.clone())).await {
                Ok(Ok(client)) => {
                    shut.keep();
                    *next = host;
                    return Ok(Self {
                        client,
                        socket,
                        idle: Mutex::default(),
                        declared: Mutex::default(),
                        doubtful: AtomicBool::new(false),
                        probe: tokio::sync::Mutex::default(),
                    });
                }
                Ok(Err(error)) => last = error.to_string(),
                Err(_) => last = format!("{what} took too long"),
            }
            *next = behind;
        }
        Err(last)
    }

    pub(crate) fn is_up(&self) -> bool {
        let open = self.socket.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        open && self.client.status().connected()
    }

    /// Whether the broker has said that it takes no messages now, because of its memory or its disk.
    pub(crate) fn is_blocked(&self) -> bool {
        self.client.status().blocked()
    }

    /// Whether the broker takes messages now, so that none is sent that it would only take after an alarm.
    ///
    /// A connection on which it does not even answer that is ended.
    pub(crate) async fn readiness(&self, deadline: Instant) -> lapin::Result<Readiness> {
        let Ok(mut probe) = timeout_at(deadline, self.probe.lock()).await else {
            return Ok(Readiness::Silent);
        };
        if self.is_blocked() {
            return Ok(Readiness::Blocked);
        }
        if !probe.is_due(Instant::now()) {
            return Ok(Readiness::Takes);
        }
        match timeout_at(deadline, probe::ask(self)).await {
            Ok(Ok(Some(answer))) => {
                *probe = answer;
                Ok(Readiness::Takes)
            }
            Ok(Ok(None)) => Ok(Readiness::Blocked),
            Ok(Err(error)) => Err(error),
            Err(_) => {
                self.end();
                Ok(Readiness::Silent)
            }
        }
    }

    /// To be told when all of a window was answered.
    pub(crate) fn answered(&self) {
        // Whoever holds it asks, and will know better.
        if let Ok(mut probe) = self.probe.try_lock() {
            probe.answered(Instant::now());
        }
    }

    /// Bytes of a frame at most.
    pub(crate) fn frame_max(&self) -> usize {
        usize::try_from(self.client.configuration().frame_max()).unwrap_or(usize::MAX)
    }

    /// The client, for channels that need not confirm.
    pub(crate) fn client(&self) -> &lapin::Connection {
        &self.client
    }

    /// A channel that confirms, for nobody else to use meanwhile. `fresh` prepares one that is new.
    pub(crate) async fn channel(
        &self,
        fresh: impl AsyncFnOnce(&Channel) -> lapin::Result<()>,
    ) -> lapin::Result<Channel> {
        if let Some(channel) = self.take_idle() {
            return Ok(channel);
        }
        let channel = self.client.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        fresh(&channel).await?;
        Ok(channel)
    }

    /// A channel that was given back.
    pub(crate) fn take_idle(&self) -> Option<Channel> {
        self.idle().pop()
    }

    /// Keeps a channel on which everything went well.
    pub(crate) fn give_back(&self, channel: Channel) {
        if channel.status().connected() {
            self.idle().push(channel);
        }
    }

    /// Whether it may still hold back a message whose outcome is unknown.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.doubtful.load(Ordering::Acquire)
    }

    pub(crate) fn doubt(&self) {
        self.doubtful.store(true, Ordering::Release);
    }

    /// Says good-bye, and ends it. Only where nothing is in doubt: the client may write what it holds back before that.
    pub(crate) async fn close(&self) {
        // The client would log a socket that is simply gone as an error.
        let _ = timeout(CLOSE_LIMIT, self.client.close(200, "done".into())).await;
        self.end();
    }

    /// Ends it: afterwards nothing can leave this process through it any more.
    pub(crate) fn end(&self) {
        shut(&self.socket);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Channel>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.end();
    }
}

/// Shuts a socket when it is dropped, unless it is kept.
struct Shut(Option<Handle>);

impl Shut {
    fn keep(&mut self) {
        self.0 = None;
    }
}

impl Drop for Shut {
    fn drop(&mut self) {
        if let Some(socket) = &self.0 {
            shut(socket);
        }
    }
}

fn shut(socket: &Handle) {
    if let Some(socket) = socket.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // It may be shut already.
        let _ = socket.shutdown(std::net::Shutdown::Both);
    }
}

async fn open_one(
    uri: AMQPUri,
    tls: Option<RustlsConnector>,
    socket: Handle,
) -> lapin::Result<lapin::Connection> {
    let runtime = lapin::runtime::default_runtime()?;
    // Called in the thread that reads from the socket from then on.
    let connect = async move |uri: AMQPUri, _| -> lapin::Result<_> {
        quiet::this_thread();
        let (host, port) = (uri.authority.host.as_str(), uri.authority.port);
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        let second = SockRef::from(&stream).try_clone()?;
        *socket.lock().unwrap_or_else(PoisonError::into_inner) = Some(second);
        let plain = AsyncTcpStream::Plain(Compat::new(stream));
        Ok(match &tls {
            None => plain,
            Some(tls) => {
                let shaken = plain.into_rustls(tls, host).await;
                shaken.map_err(|error| io::Error::new(error.kind(), format!("TLS: {error}")))?
            }
        })
    };
    let name = ConnectionProperties::default().with_connection_name("outbox".into());
    lapin::Connection::connector(uri, runtime, connect, name).await
}
