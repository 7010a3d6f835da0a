use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

/// A hop between a relay and its database. It can hold back everything, as a network that hangs does, and it counts what
/// goes through.
pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    server: SocketAddr,
    hangs_up: AtomicBool,
    frozen: Mutex<bool>,
    thawed: Condvar,
    connections: AtomicUsize,
    statements: AtomicUsize,
}

impl Proxy {
    /// In front of the server of a URL of PostgreSQL.
    pub(crate) fn before(url: &str) -> Self {
        let (_, rest) = url.split_once("://").unwrap();
        let (authority, _) = rest.split_once('/').unwrap();
        let host = authority.rsplit('@').next().unwrap();
        let server = std::net::ToSocketAddrs::to_socket_addrs(host).unwrap().find(SocketAddr::is_ipv4);
        let server = server.unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            server,
            hangs_up: AtomicBool::new(false),
            frozen: Mutex::new(false),
            thawed: Condvar::new(),
            connections: AtomicUsize::new(0),
            statements: AtomicUsize::new(0),
        });
        let accepting = Arc::clone(&shared);
        // Its threads end with the process.
        std::thread::spawn(move || {
            for client in listener.incoming() {
                accepting.connections.fetch_add(1, Ordering::Relaxed);
                if let (Ok(client), false) = (client, accepting.hangs_up.load(Ordering::Relaxed)) {
                    accepting.connect(client);
                }
            }
        });
        Self { port, shared }
    }

    /// The same URL by way of this proxy.
    pub(crate) fn instead_of(&self, url: &str) -> String {
        let (scheme, rest) = url.split_once("://").unwrap();
        let (authority, path) = rest.split_once('/').unwrap();
        let user = authority.rsplit_once('@').map_or(String::new(), |(user, _)| format!("{user}@"));
        format!("{scheme}://{user}127.0.0.1:{}/{path}", self.port)
    }

    /// Nothing goes through any more, in either direction; nobody is hung up on.
    pub(crate) fn freeze(&self) {
        *self.shared.frozen.lock().unwrap() = true;
    }

    /// What was held back goes through, and everything after it.
    pub(crate) fn thaw(&self) {
        *self.shared.frozen.lock().unwrap() = false;
        self.shared.thawed.notify_all();
    }

    /// Whether whoever connects from now on is hung up on.
    pub(crate) fn hang_up(&self, hang_up: bool) {
        self.shared.hangs_up.store(hang_up, Ordering::Relaxed);
    }

    /// Connections that were tried.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Statements that PostgreSQL was asked to execute.
    pub(crate) fn statements(&self) -> usize {
        self.shared.statements.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn connect(self: &Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(self.server) else { return };
        for stream in [&client, &server] {
            let _ = stream.set_nodelay(true);
        }
        let (from_client, from_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let shared = Arc::clone(self);
        std::thread::spawn(move || {
            let mut counting = Counting::default();
            shared.pass(from_client, server, |bytes| {
                shared.statements.fetch_add(counting.statements(bytes), Ordering::Relaxed);
            });
        });
        let shared = Arc::clone(self);
        std::thread::spawn(move || shared.pass(from_server, client, |_| ()));
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream, mut look: impl FnMut(&[u8])) {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let mut frozen = self.frozen.lock().unwrap();
            while *frozen {
                frozen = self.thawed.wait(frozen).unwrap();
            }
            drop(frozen);
            look(&buffer[..count]);
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
        let _ = from.shutdown(Shutdown::Read);
    }
}

/// Follows the messages of a client of PostgreSQL: a byte that says what it is, four bytes of length, the rest. The first
/// one has no such byte.
#[derive(Default)]
struct Counting {
    started: bool,
    head: Vec<u8>,
    left: usize,
}

impl Counting {
    fn statements(&mut self, mut bytes: &[u8]) -> usize {
        let mut statements = 0;
        loop {
            let skipped = self.left.min(bytes.len());
            self.left -= skipped;
            bytes = &bytes[skipped..];
            let head = if self.started { 5 } else { 4 };
            let missing = (head - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..missing]);
            bytes = &bytes[missing..];
            if self.head.len() < head {
                return statements;
            }
            let length: [u8; 4] = self.head[head - 4..].try_into().unwrap();
            self.left = usize::try_from(u32::from_be_bytes(length)).unwrap() - 4;
            // Execute, or a simple query.
            if self.started && matches!(self.head[0], b'E' | b'Q') {
                statements += 1;
            }
            self.started = true;
            self.head.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_counted_however_the_bytes_arrive() {
        let mut bytes = b"\0\0\0\x0cEEEEQQQQ".to_vec();
        for (kind, length) in [(b'P', 9), (b'B', 4), (b'E', 9), (b'S', 4), (b'Q', 14), (b'X', 4)] {
            bytes.push(kind);
            bytes.extend_from_slice(&u32::to_be_bytes(length));
            bytes.extend(std::iter::repeat_n(b'E', length as usize - 4));
        }
        for size in 1..=bytes.len() {
            let mut counting = Counting::default();
            let counted: usize = bytes.chunks(size).map(|some| counting.statements(some)).sum();
            assert_eq!(counted, 2, "in pieces of {size}");
        }
    }
}
