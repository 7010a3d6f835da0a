//! Faults on the way to any broker: a proxy that can cut, swallow and reset what passes through it.

use std::future::pending;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// Stands between a client and a broker on this machine. Without a fault it passes everything on. Ends, with all its
/// connections, when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    cuts_answers: AtomicBool,
    /// Bytes of answers that still pass before the connection is cut that takes the next one; none are counted below 0.
    answers_left: AtomicIsize,
    swallows: AtomicBool,
    swallows_answers: AtomicBool,
    holds: watch::Sender<bool>,
    open: AtomicUsize,
    connections: Mutex<JoinSet<()>>,
}

impl Proxy {
    /// To the broker at this port, which may be down now and then: a client is then cut off at once.
    ///
    /// # Panics
    ///
    /// If no port is free.
    pub async fn to(broker: u16) -> Self {
        Self::at(0, broker).await
    }

    /// The same at a port that was chosen before, for brokers that tell their clients where to come to.
    ///
    /// # Panics
    ///
    /// If the port is not free.
    pub async fn at(port: u16, broker: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Shared {
            cuts_answers: AtomicBool::new(false),
            answers_left: AtomicIsize::new(-1),
            swallows: AtomicBool::new(false),
            swallows_answers: AtomicBool::new(false),
            holds: watch::Sender::new(false),
            open: AtomicUsize::new(0),
            connections: Mutex::new(JoinSet::new()),
        });
        let task = tokio::spawn(accept(listener, broker, shared.clone()));
        Self { port, shared, accepting: task.abort_handle() }
    }

    /// Where it listens, at 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// From now on a connection is cut at the moment when the broker answers: it has the message, and the client does
    /// not know.
    pub fn cut_answers(&self, cut: bool) {
        self.shared.cuts_answers.store(cut, Ordering::SeqCst);
    }

    /// Once, when this many more bytes of answers have passed, the connection is cut that takes the next one: in the
    /// middle of an answer, the rest of which nobody gets. Other connections stay.
    pub fn cut_after(&self, bytes: u16) {
        self.shared.answers_left.store(isize::try_from(bytes).unwrap_or(0), Ordering::SeqCst);
    }

    /// Whether the cut that [`Proxy::cut_after`] asked for is still to come.
    #[must_use]
    pub fn is_to_cut(&self) -> bool {
        self.shared.answers_left.load(Ordering::SeqCst) >= 0
    }

    /// From now on requests pass and answers vanish: half of the connection is open. A connection that has lost bytes that
    /// way is cut when it is used afterwards.
    pub fn swallow_answers(&self, swallow: bool) {
        self.shared.swallows_answers.store(swallow, Ordering::SeqCst);
    }

    /// From now on everything waits here, in both directions, as in a network that hangs; and passes, late, when it no
    /// longer holds.
    pub fn hold(&self, hold: bool) {
        self.shared.holds.send_replace(hold);
    }

    /// From now on everything is taken, from both sides, and nothing is passed on: neither side learns that the other
    /// is gone. A connection that has lost bytes that way is cut when it is used afterwards.
    pub fn black_hole(&self, swallow: bool) {
        self.shared.swallows.store(swallow, Ordering::SeqCst);
    }

    /// Cuts all connections that are open, and returns when they are gone. New ones are taken.
    pub async fn reset(&self) {
        let mut open = std::mem::take(&mut *self.shared.connections());
        open.shutdown().await;
    }

    /// Waits until clients hold this many connections.
    ///
    /// # Panics
    ///
    /// If that takes more than ten seconds.
    pub async fn has_open(&self, count: usize) {
        let open = || self.shared.open.load(Ordering::SeqCst);
        let reached = async {
            while open() != count {
                tokio::task::yield_now().await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(10), reached).await;
        assert!(in_time.is_ok(), "{} connections, expected {count}", open());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.shared.connections().abort_all();
    }
}

impl Shared {
    fn connections(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, broker: u16, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let counted = Counted::new(shared.clone());
        let mut connections = shared.connections();
        while connections.try_join_next().is_some() {}
        connections.spawn(pass_on(client, broker, counted));
    }
}

/// A connection of a client, for as long as the client holds it.
async fn pass_on(client: TcpStream, broker: u16, counted: Counted) {
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, broker)).await else {
        return;
    };
    // A proxy that collects small packets is not what is measured.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let (shared, lost) = (&*counted.shared, AtomicBool::new(false));
    let requests = copy(from_client, to_server, shared, &lost, Way::ToTheBroker);
    let answers = async {
        copy(from_server, to_client, shared, &lost, Way::ToTheClient).await;
        // The client holds the connection until it has noticed.
        pending::<()>().await;
    };
    tokio::select! {
        () = requests => {}
        () = answers => {}
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    ToTheBroker,
    ToTheClient,
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared, lost: &AtomicBool, way: Way) {
    let mut buffer = vec![0; 64 * 1024];
    let mut holds = shared.holds.subscribe();
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        // Its sender lives as long as what it is borrowed from.
        let _ = holds.wait_for(|holds| !holds).await;
        if shared.swallows(way) {
            lost.store(true, Ordering::SeqCst);
            continue;
        }
        // Behind a gap, nothing can be understood any more. As long as answers vanish, the requests know of none.
        let gap = lost.load(Ordering::SeqCst) && !shared.swallows(Way::ToTheClient);
        let broken = gap || shared.cuts(way);
        let passes = if broken { 0 } else { shared.passes(way, count) };
        if to.write_all(&buffer[..passes]).await.is_err() || passes < count {
            return;
        }
    }
}

impl Shared {
    fn swallows(&self, way: Way) -> bool {
        let answers = way == Way::ToTheClient && self.swallows_answers.load(Ordering::SeqCst);
        answers || self.swallows.load(Ordering::SeqCst)
    }

    fn cuts(&self, way: Way) -> bool {
        way == Way::ToTheClient && self.cuts_answers.load(Ordering::SeqCst)
    }

    /// How many of these bytes pass, before the connection is cut.
    fn passes(&self, way: Way, count: usize) -> usize {
        let size = isize::try_from(count).unwrap_or(isize::MAX);
        if way == Way::ToTheBroker || self.answers_left.load(Ordering::SeqCst) < 0 {
            return count;
        }
        // Whoever takes it below zero is the one that is cut.
        let left = self.answers_left.fetch_sub(size, Ordering::SeqCst);
        if (0..size).contains(&left) { usize::try_from(left).unwrap_or(0) } else { count }
    }
}

struct Counted {
    shared: Arc<Shared>,
}

impl Counted {
    fn new(shared: Arc<Shared>) -> Self {
        shared.open.fetch_add(1, Ordering::SeqCst);
        Self { shared }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.shared.open.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends back what it gets.
    async fn echo() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = client.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        port
    }

    async fn client(proxy: &Proxy) -> TcpStream {
        TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).await.unwrap()
    }

    /// What comes back; nothing if the connection is cut.
    async fn echoed(client: &mut TcpStream) -> Vec<u8> {
        let mut answer = vec![0; 16];
        let written = client.write_all(b"hello").await;
        let count = if written.is_ok() { client.read(&mut answer).await.unwrap_or(0) } else { 0 };
        answer.truncate(count);
        answer
    }

    #[tokio::test]
    async fn without_a_fault_everything_passes() {
        let proxy = Proxy::to(echo().await).await;
        let mut client = client(&proxy).await;
        assert_eq!(echoed(&mut client).await, b"hello");
        proxy.has_open(1).await;
        drop(client);
        proxy.has_open(0).await;
    }

    #[tokio::test]
    async fn an_answer_is_cut_and_the_next_connection_works() {
        let proxy = Proxy::to(echo().await).await;
        let mut one = client(&proxy).await;
        proxy.cut_answers(true);
        assert_eq!(echoed(&mut one).await, b"");
        proxy.has_open(1).await;
        proxy.cut_answers(false);
        assert_eq!(echoed(&mut client(&proxy).await).await, b"hello");
    }

    #[tokio::test]
    async fn a_black_hole_is_silent_and_then_cut() {
        let proxy = Proxy::to(echo().await).await;
        let mut one = client(&proxy).await;
        proxy.black_hole(true);
        let silent = tokio::time::timeout(Duration::from_millis(100), echoed(&mut one)).await;
        assert!(silent.is_err(), "{silent:?}");
        proxy.black_hole(false);
        assert_eq!(echoed(&mut one).await, b"");
        assert_eq!(echoed(&mut client(&proxy).await).await, b"hello");
    }

    #[tokio::test]
    async fn a_reset_cuts_what_is_open() {
        let proxy = Proxy::to(echo().await).await;
        let mut one = client(&proxy).await;
        assert_eq!(echoed(&mut one).await, b"hello");
        proxy.reset().await;
        proxy.has_open(0).await;
        assert_eq!(echoed(&mut one).await, b"");
        assert_eq!(echoed(&mut client(&proxy).await).await, b"hello");
    }

    #[tokio::test]
    async fn an_answer_is_cut_in_its_middle_once() {
        let proxy = Proxy::to(echo().await).await;
        let mut one = client(&proxy).await;
        proxy.cut_after(8);
        assert_eq!(echoed(&mut one).await, b"hello");
        assert!(proxy.is_to_cut());
        assert_eq!(echoed(&mut one).await, b"hel");
        assert!(!proxy.is_to_cut());
        assert_eq!(echoed(&mut one).await, b"");
        assert_eq!(echoed(&mut client(&proxy).await).await, b"hello");
    }

    #[tokio::test]
    async fn an_answer_vanishes_where_half_is_open() {
        let (asked, mut asking) = tokio::sync::mpsc::unbounded_channel();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let proxy = Proxy::to(listener.local_addr().unwrap().port()).await;
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut word = [0; 5];
                while client.read_exact(&mut word).await.is_ok() {
                    asked.send(word).unwrap();
                    client.write_all(&word).await.unwrap();
                }
            }
        });
        let mut one = client(&proxy).await;
        proxy.swallow_answers(true);
        let silent = tokio::time::timeout(Duration::from_millis(100), echoed(&mut one)).await;
        assert!(silent.is_err(), "{silent:?}");
        assert_eq!(asking.recv().await.unwrap(), *b"hello", "the request has passed");
        proxy.swallow_answers(false);
        assert_eq!(echoed(&mut one).await, b"");
        drop(one);
        assert_eq!(echoed(&mut client(&proxy).await).await, b"hello");
    }

    #[tokio::test]
    async fn what_is_held_comes_late() {
        let proxy = Proxy::to(echo().await).await;
        let mut one = client(&proxy).await;
        proxy.hold(true);
        one.write_all(b"hello").await.unwrap();
        let mut answer = [0; 5];
        let silent = tokio::time::timeout(Duration::from_millis(100), one.read_exact(&mut answer)).await;
        assert!(silent.is_err(), "{silent:?}");
        proxy.hold(false);
        one.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"hello");
    }
}
