use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

const LIMIT: Duration = Duration::from_secs(30);

/// A folder with nothing in it, and a name for a database there.
pub(crate) struct Shell {
    folder: tempfile::TempDir,
}

/// How a run has ended.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Shell {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// With the tables in the database.
    pub(crate) fn migrated() -> Self {
        let shell = Self::new();
        shell.run(&["--store", &shell.new_url(), "migrate"]).succeeds();
        shell
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn url(&self) -> String {
        format!("sqlite://{}", self.file("shop.db").display())
    }

    /// The same, and the file is created if it is missing.
    pub(crate) fn new_url(&self) -> String {
        format!("{}?mode=rwc", self.url())
    }

    /// `outbox` in this folder, with nothing in its environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outbox"));
        command.args(arguments).current_dir(self.folder.path()).env_clear();
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments))
    }

    /// With `--store` in front.
    pub(crate) fn on_store(&self, arguments: &[&str]) -> Ran {
        self.run(&[&["--store", &self.url()], arguments].concat())
    }

    /// Runs SQL as another program would.
    pub(crate) fn sql(&self, sql: &str) {
        self.try_sql(sql).unwrap();
    }

    pub(crate) fn try_sql(&self, sql: &str) -> Result<(), sqlx::Error> {
        self.block_on(async |connection| {
            sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.map(drop)
        })
    }

    pub(crate) fn count(&self, table: &str) -> i64 {
        let sql = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        self.block_on(async |connection| sqlx::query_scalar(sql).fetch_one(connection).await.unwrap())
    }

    fn block_on<T>(&self, ask: impl AsyncFnOnce(&mut sqlx::SqliteConnection) -> T) -> T {
        let options = SqliteConnectOptions::new().filename(self.file("shop.db"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut connection = options.connect().await.unwrap();
            let answer = ask(&mut connection).await;
            connection.close().await.unwrap();
            answer
        })
    }

    /// A message with this number in its id and in its payload.
    pub(crate) fn insert(&self, number: u32, topic: &str, key: &str) {
        self.sql(&format!(
            "INSERT INTO outbox_messages (id, topic, ordering_key, payload) \
             VALUES (x'{number:032x}', '{topic}', '{key}', CAST('{{\"number\":{number}}}' AS BLOB))"
        ));
    }
}

/// The id of the message with this number.
pub(crate) fn id(number: u32) -> String {
    format!("00000000-0000-0000-0000-{number:012x}")
}

impl Ran {
    pub(crate) fn of(mut command: Command) -> Self {
        let output = command.stdin(Stdio::null()).output().unwrap();
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    pub(crate) fn succeeds(self) -> Self {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        self
    }

    /// Ends with this code, whatever it says.
    #[track_caller]
    pub(crate) fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        self
    }

    /// Ends with this code, and says nothing but this error.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, error: &str) {
        assert_eq!(self.stderr, format!("error: {error}\n"));
        assert_eq!(self.code, code);
        assert_eq!(self.stdout, "");
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|_| panic!("{}{}", self.stdout, self.stderr))
    }
}

/// A process that goes on running, until it is told to stop or the test has ended.
pub(crate) struct Running {
    process: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = lines(process.stdout.take().unwrap());
        let stderr = lines(process.stderr.take().unwrap());
        Self { process, stdout, stderr }
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// The next line of standard output.
    pub(crate) fn printed(&self) -> String {
        self.stdout.recv_timeout(LIMIT).expect("a line on standard output")
    }

    /// Reads the log until a line has this text; returns all lines.
    pub(crate) fn logged(&self, text: &str) -> Vec<String> {
        let mut lines = Vec::new();
        while lines.last().is_none_or(|line: &String| !line.contains(text)) {
            let line = self.stderr.recv_timeout(LIMIT);
            lines.push(line.unwrap_or_else(|_| panic!("no {text:?} in {lines:#?}")));
        }
        lines
    }

    /// Waits for the end; what was printed and not yet read.
    pub(crate) fn end(mut self) -> Ran {
        let rest = |lines: &Receiver<String>| lines.iter().map(|line| format!("{line}\n")).collect();
        let (stdout, stderr) = (rest(&self.stdout), rest(&self.stderr));
        Ran { code: self.process.wait().unwrap().code().unwrap_or(-1), stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn lines(from: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Waits for something to become true.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_true() {
        assert!(started.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
