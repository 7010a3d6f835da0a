use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use outbox_conformance::transport_suite::BrokerProcess;
use tempfile::TempDir;
use tokio::time::Instant;

/// A `nats-server` of our own, on a free port and in a directory that vanishes with it.
pub(crate) struct PrivateServer {
    port: u16,
    directory: TempDir,
    arguments: Vec<String>,
    child: Mutex<Option<Child>>,
}

impl PrivateServer {
    /// `None` if there is no `nats-server` here.
    pub(crate) async fn with_jetstream() -> Option<Self> {
        Self::launch("jetstream: { store_dir: \"$DIR\" }").await
    }

    /// With this configuration; `$DIR` stands for its directory.
    pub(crate) async fn launch(config: &str) -> Option<Self> {
        Command::new("nats-server").arg("-v").output().ok()?;
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let path = directory.path().join("server.conf");
        std::fs::write(&path, config.replace("$DIR", directory.path().to_str().unwrap())).unwrap();
        let arguments = ["-c", path.to_str().unwrap(), "-a", "127.0.0.1", "-p", &port.to_string()];
        let server =
            Self { port, arguments: arguments.map(str::to_owned).into(), directory, child: Mutex::new(None) };
        server.start().await;
        Some(server)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    fn signal(&self, name: &str) {
        let child = self.child.lock().unwrap();
        let pid = child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Waits for the greeting that a server sends when it is ready for clients, which is after it has read its streams.
    async fn greets(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Ok(stream) = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await {
                let mut greeting = [0; 4];
                let mut stream = stream;
                if tokio::io::AsyncReadExt::read_exact(&mut stream, &mut greeting).await.is_ok()
                    && &greeting == b"INFO"
                {
                    return;
                }
            }
            assert!(Instant::now() < deadline, "nats-server in {:?} does not start", self.directory.path());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[async_trait]
impl BrokerProcess for PrivateServer {
    async fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    async fn start(&self) {
        let log = std::fs::File::create(self.directory.path().join("server.log")).unwrap();
        let mut command = Command::new("nats-server");
        command.args(&self.arguments).stdout(Stdio::null()).stderr(log);
        *self.child.lock().unwrap() = Some(command.spawn().unwrap());
        self.greets().await;
    }

    async fn freeze(&self) {
        self.signal("-STOP");
    }

    async fn thaw(&self) {
        self.signal("-CONT");
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut child) = child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
