//! Brokers of a test's own: each on a free port, with its data in a folder that vanishes with it, to be killed, frozen
//! and started again at will.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::transport_suite::BrokerProcess;

/// How long a server may take to start and to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server of a test's own. It ends with this handle.
pub struct Server {
    port: u16,
    folder: TempDir,
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    /// What is sent to it, and what its answer begins with once it takes messages.
    question: (&'static [u8], &'static [u8]),
    child: Mutex<Option<Child>>,
}

impl Server {
    /// A NATS server with JetStream; `config` is more of its configuration, in which `$DIR` is its folder. `None` if
    /// there is no `nats-server` here.
    pub async fn nats(config: Option<&str>) -> Option<Self> {
        let mut server = Self::new("nats-server", (b"", b"INFO"))?;
        let config = config.unwrap_or("jetstream: { store_dir: \"$DIR\" }");
        let path = server.folder.path().join("server.conf");
        std::fs::write(&path, config.replace("$DIR", &server.directory())).expect("a file can be written");
        server.arguments(["-c", &*path.to_string_lossy(), "-a", "127.0.0.1", "-p", &server.port.to_string()]);
        server.started().await
    }

    /// A Redis that writes every command to its file before it answers, with more options as they stand on its command
    /// line. `None` if there is no `redis-server` here.
    pub async fn redis(options: &[&str]) -> Option<Self> {
        let mut server = Self::new("redis-server", (b"PING\r\n", b"+PONG"))?;
        let (port, folder) = (server.port.to_string(), server.directory());
        server.arguments(["--bind", "127.0.0.1", "--port", &port, "--dir", &folder, "--save", ""]);
        server.arguments(["--appendonly", "yes", "--appendfsync", "always"]);
        server.arguments(options.iter().copied());
        server.started().await
    }

    /// A broker that speaks Kafka's protocol, whose topics survive a restart, and that tells clients to come to
    /// `localhost` at `advertised`, or to its own port. `None` if there is no `tansu` here.
    pub async fn kafka(advertised: Option<u16>) -> Option<Self> {
        Self::tansu(advertised, "sqlite://tansu.db").await
    }

    /// The same, faster, and with nothing left after a restart: its file takes minutes to read what memory gives at once.
    pub async fn kafka_in_memory(advertised: Option<u16>) -> Option<Self> {
        Self::tansu(advertised, "memory://tansu/").await
    }

    async fn tansu(advertised: Option<u16>, storage: &str) -> Option<Self> {
        // ApiVersions of version 0, with correlation id 7; its answer begins with its length.
        let question: &[u8] = b"\0\0\0\x0b\0\x12\0\0\0\0\0\x07\0\x01x";
        let mut server = Self::new("tansu", (question, b"\0\0"))?;
        let (own, port) = (server.port, advertised.unwrap_or(server.port));
        let host = if advertised.is_some() { "localhost" } else { "127.0.0.1" };
        server.arguments(["broker", "--storage-engine", storage]);
        server.arguments(["--listener-url", &format!("tcp://127.0.0.1:{own}")]);
        server.arguments(["--advertised-listener-url", &format!("tcp://{host}:{port}")]);
        server.started().await
    }

    /// A RabbitMQ node. `None` if it is not installed.
    ///
    /// A quorum queue of RabbitMQ 3.10 that was declared a moment ago does not survive a kill, with everything that was
    /// confirmed: [`Server::restart`] once after declaring one.
    pub async fn rabbitmq() -> Option<Self> {
        Self::rabbitmq_with("").await
    }

    /// The same, with lines of its `rabbitmq.conf`.
    pub async fn rabbitmq_with(config: &str) -> Option<Self> {
        // The header of AMQP 0-9-1; the answer is a method frame of channel 0.
        let question: (&[u8], &[u8]) = (b"AMQP\0\0\x09\x01", b"\x01\0\0");
        // Not the one on the path, which is for the one system-wide node.
        let mut server = Self::new("/usr/lib/rabbitmq/bin/rabbitmq-server", question)?;
        let (port, folder) = (server.port, server.directory());
        let in_folder = |name: &str| format!("{folder}/{name}");
        std::fs::write(in_folder("rabbitmq.conf"), config).expect("a file can be written");
        server.environment = vec![
            ("HOME", folder.clone()),
            ("RABBITMQ_NODENAME", format!("outbox-{port}@localhost")),
            ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".to_owned()),
            ("RABBITMQ_NODE_PORT", port.to_string()),
            ("RABBITMQ_DIST_PORT", free_port().to_string()),
            ("RABBITMQ_MNESIA_BASE", folder.clone()),
            ("RABBITMQ_LOG_BASE", folder.clone()),
            ("RABBITMQ_CONFIG_FILE", in_folder("rabbitmq.conf")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", in_folder("plugins")),
        ];
        server.started().await
    }

    /// Where it listens, at 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its environment, for programs that come with it (`rabbitmqctl`).
    #[must_use]
    pub fn environment(&self) -> &[(&'static str, String)] {
        &self.environment
    }

    /// Stops it as an operator would, and starts it again.
    ///
    /// # Panics
    ///
    /// If it does not stop or start.
    pub async fn restart(&self) {
        let child = self.child().take();
        if let Some(mut child) = child {
            // To the one process: RabbitMQ's is a script that stops the node in good order.
            signal("-TERM", &child.id().to_string());
            let deadline = Instant::now() + PATIENCE;
            while child.try_wait().expect("it can be waited for").is_none() {
                assert!(Instant::now() < deadline, "{} does not stop", self.program.display());
                sleep(Duration::from_millis(20)).await;
            }
        }
        self.start().await;
    }

    fn new(program: &str, question: (&'static [u8], &'static [u8])) -> Option<Self> {
        Some(Self {
            port: free_port(),
            folder: tempfile::tempdir().expect("a temporary folder can be made"),
            program: find(program)?,
            arguments: Vec::new(),
            environment: Vec::new(),
            question,
            child: Mutex::new(None),
        })
    }

    fn arguments<'a>(&mut self, more: impl IntoIterator<Item = &'a str>) {
        self.arguments.extend(more.into_iter().map(str::to_owned));
    }

    async fn started(self) -> Option<Self> {
        self.start().await;
        Some(self)
    }

    fn directory(&self) -> String {
        self.folder.path().to_string_lossy().into_owned()
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process and all that it has started.
    fn signal_group(&self, name: &str) {
        if let Some(child) = self.child().as_ref() {
            signal(name, &format!("-{}", child.id()));
        }
    }

    async fn answers(&self) -> bool {
        let (question, answer) = self.question;
        let conversation = async {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
            stream.write_all(question).await?;
            let mut found = vec![0; answer.len()];
            stream.read_exact(&mut found).await?;
            std::io::Result::Ok(found == answer)
        };
        matches!(timeout(Duration::from_secs(2), conversation).await, Ok(Ok(true)))
    }
}

#[async_trait]
impl BrokerProcess for Server {
    async fn kill(&self) {
        self.signal_group("-KILL");
        if let Some(mut child) = self.child().take() {
            child.wait().expect("it can be waited for");
        }
        // The first process may be gone before those that it has started.
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn start(&self) {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log"));
        let log = log.expect("a file can be written");
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.folder.path()).stdin(Stdio::null()).process_group(0);
        command.stdout(log.try_clone().expect("a file has a second handle")).stderr(log);
        *self.child() = Some(command.spawn().expect("the program starts"));
        let deadline = Instant::now() + PATIENCE;
        while !self.answers().await {
            let ended = self.child().as_mut().and_then(|child| child.try_wait().ok().flatten());
            let given_up = ended.is_some() || Instant::now() > deadline;
            assert!(!given_up, "{} does not start: {ended:?}\n{}", self.program.display(), self.log());
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn freeze(&self) {
        self.signal_group("-STOP");
    }

    async fn thaw(&self) {
        self.signal_group("-CONT");
    }
}

impl Server {
    fn log(&self) -> String {
        let text = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal_group("-KILL");
        if let Some(mut child) = self.child().take() {
            let _ = child.wait();
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("program", &self.program)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// By the program of that name, because sending a signal is not something that safe code can do itself.
fn signal(name: &str, process: &str) {
    let _ = Command::new("kill").args([name, "--", process]).stderr(Stdio::null()).status();
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    listener.local_addr().expect("it is bound").port()
}

/// On the path, or where `cargo xtask services up` puts what no distribution has.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    let built = cache.and_then(|cache| std::fs::read_dir(cache.join("outbox-services")).ok());
    let built = built.into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let sbin = PathBuf::from("/usr/sbin");
    std::env::split_paths(&path)
        .chain([sbin])
        .chain(built)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::started;

    async fn lives(server: Option<Server>) {
        let Some(server) = started("a server of its own", server) else { return };
        assert!(server.answers().await);
        server.freeze().await;
        server.thaw().await;
        server.kill().await;
        assert!(!server.answers().await, "it is dead");
        server.start().await;
        server.restart().await;
        assert!(server.answers().await);
        let (port, folder) = (server.port(), server.folder().to_owned());
        drop(server);
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok() {
            assert!(Instant::now() < deadline, "it outlives its handle");
            sleep(Duration::from_millis(5)).await;
        }
        assert!(!folder.exists());
    }

    #[tokio::test]
    async fn nats_lives_and_dies() {
        lives(Server::nats(None).await).await;
    }

    #[tokio::test]
    async fn redis_lives_and_dies() {
        lives(Server::redis(&[]).await).await;
    }

    #[tokio::test]
    async fn kafka_lives_and_dies() {
        lives(Server::kafka(None).await).await;
    }

    #[tokio::test]
    async fn rabbitmq_lives_and_dies() {
        lives(Server::rabbitmq().await).await;
    }
}
