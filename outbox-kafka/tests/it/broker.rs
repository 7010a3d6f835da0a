use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use outbox_conformance::transport_suite::BrokerProcess;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// A `tansu` of our own, which speaks Kafka's protocol: on a free port, with a database in a directory that vanishes
/// with it.
pub(crate) struct PrivateBroker {
    port: u16,
    program: PathBuf,
    directory: TempDir,
    arguments: Vec<String>,
    child: Mutex<Option<Child>>,
}

impl PrivateBroker {
    /// `None` if there is no `tansu` here.
    pub(crate) async fn launch() -> Option<Self> {
        Self::advertised(None).await
    }

    /// One that believes to be reached at `localhost` on another port.
    pub(crate) async fn advertised(at: Option<u16>) -> Option<Self> {
        let program = program()?;
        let directory = tempfile::tempdir().unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let advertised = match at {
            Some(other) => format!("tcp://localhost:{other}"),
            None => format!("tcp://127.0.0.1:{port}"),
        };
        let arguments = [
            "broker".to_owned(),
            format!("--listener-url=tcp://127.0.0.1:{port}"),
            format!("--advertised-listener-url={advertised}"),
            "--storage-engine=sqlite://tansu.db".to_owned(),
        ];
        let broker = Self { port, program, directory, arguments: arguments.into(), child: Mutex::new(None) };
        broker.start().await;
        Some(broker)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn servers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn signal(&self, name: &str) {
        let child = self.child.lock().unwrap();
        let pid = child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Waits until it answers as a broker does. Not by a client of librdkafka, which goes on to the advertised address.
    async fn answers(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.api_versions().await.is_err() {
            assert!(Instant::now() < deadline, "tansu in {:?} does not start", self.directory.path());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn api_versions(&self) -> std::io::Result<u32> {
        // Ten bytes: request 18 in version 0, correlation id 1, no client id.
        const REQUEST: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
        stream.write_all(&REQUEST).await?;
        stream.read_u32().await
    }
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let installed = cache.map(|cache| cache.join("outbox-services/tansu-0.6.0/bin"));
    std::env::split_paths(&path)
        .chain(installed)
        .map(|folder| folder.join("tansu"))
        .find(|file| file.is_file())
}

#[async_trait]
impl BrokerProcess for PrivateBroker {
    async fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    async fn start(&self) {
        let log = std::fs::File::create(self.directory.path().join("tansu.log")).unwrap();
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(self.directory.path()).stdout(Stdio::null()).stderr(log);
        *self.child.lock().unwrap() = Some(command.spawn().unwrap());
        self.answers().await;
    }

    async fn freeze(&self) {
        self.signal("-STOP");
    }

    async fn thaw(&self) {
        self.signal("-CONT");
    }
}

impl Drop for PrivateBroker {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut child) = child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
