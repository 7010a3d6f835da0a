use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// Stands between a client and the server, and can cut a connection at the moment when the server answers: the server
/// has the message, and the client does not know.
pub(crate) struct Proxy {
    port: u16,
    cuts_answers: Arc<AtomicBool>,
    open: Arc<AtomicUsize>,
}

impl Proxy {
    pub(crate) async fn to(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cuts_answers = Arc::new(AtomicBool::new(false));
        let cuts = cuts_answers.clone();
        let open = Arc::new(AtomicUsize::new(0));
        let count = open.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await.unwrap();
                let ((from_client, to_client), (from_server, to_server)) =
                    (client.into_split(), server.into_split());
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(forward(from_client, to_server, count.clone()));
                tokio::spawn(answer(from_server, to_client, cuts.clone()));
            }
        });
        Self { port, cuts_answers, open }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Waits until clients hold this many connections.
    pub(crate) async fn has_open(&self, count: usize) {
        let reached = async {
            while self.open.load(Ordering::SeqCst) != count {
                tokio::task::yield_now().await;
            }
        };
        let found = || format!("{} connections, expected {count}", self.open.load(Ordering::SeqCst));
        tokio::time::timeout(Duration::from_secs(10), reached)
            .await
            .unwrap_or_else(|_| panic!("{}", found()));
    }

    pub(crate) fn cut_answers(&self, cut: bool) {
        self.cuts_answers.store(cut, Ordering::SeqCst);
    }
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, open: Arc<AtomicUsize>) {
    let _ = copy(&mut from, &mut to).await;
    open.fetch_sub(1, Ordering::SeqCst);
}

async fn answer(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, cuts: Arc<AtomicBool>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if cuts.load(Ordering::SeqCst) || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
