use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::databases::Database;
use crate::eventually::{until, until_some};

/// How long a command that does not wait for anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The setting of a relay that is a file of configuration.
pub(crate) const CONFIG: &str = "config";

/// The binary.
pub(crate) fn outbox() -> Command {
    let mut command = outbox_conformance::program(env!("CARGO_BIN_EXE_outbox"));
    // No configuration file that happens to lie where the tests run.
    command.current_dir(std::env::temp_dir()).stdin(Stdio::null());
    command
}

/// Runs a command of the binary on this store to its end.
pub(crate) fn run(store: &str, words: &[&str]) -> Output {
    let child =
        outbox().args(words).args(["--store", store]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.unwrap();
    let id = child.id();
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(child.wait_with_output().unwrap()));
    ended.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        signal(id, "KILL");
        panic!("outbox {words:?} did not end in {PATIENCE:?}")
    })
}

/// The same, for a command that is to succeed.
pub(crate) fn succeed(store: &str, words: &[&str]) -> String {
    let output = run(store, words);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "outbox {words:?}: {}\n{stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// What a command with `--json` printed.
pub(crate) fn json(store: &str, words: &[&str]) -> Value {
    let text = succeed(store, &[words, &["--json"]].concat());
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("outbox {words:?}: {error}\n{text}"))
}

/// A process `outbox relay`, killed when it is dropped.
pub(crate) struct Relay {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    /// Lines of figures that were read.
    seen: usize,
}

impl Relay {
    /// Starts a relay with settings (`relay.lease_ttl` is `LEASE_TTL`).
    pub(crate) fn start(database: &Database, transport: &str, settings: &[(&str, &str)]) -> Self {
        Self::start_at(database, database.url(), transport, settings)
    }

    /// The same, for a store that is reached by another way.
    pub(crate) fn start_at(
        database: &Database,
        store: &str,
        transport: &str,
        settings: &[(&str, &str)],
    ) -> Self {
        let name = uuid::Uuid::now_v7().simple().to_string();
        let (stdout, stderr) =
            (database.file(&format!("relay-{name}.out")), database.file(&format!("relay-{name}.err")));
        let mut command = outbox();
        command.args(["relay", "--json"]);
        // By configuration alone, as a service would have it.
        command.env("OUTBOX_STORE_URL", store).env("OUTBOX_TRANSPORT_URL", transport);
        for (key, value) in settings {
            match *key {
                CONFIG => command.arg("--config").arg(value),
                key => command.env(format!("OUTBOX_RELAY_{key}"), value),
            };
        }
        command.stdout(File::create(&stdout).unwrap()).stderr(File::create(&stderr).unwrap());
        Self { child: command.spawn().unwrap(), stdout, stderr, seen: 0 }
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Waits until it owns shards, so that what comes now comes to a relay that runs.
    pub(crate) fn works(&self) {
        self.logs("took shards over");
    }

    /// Waits for a line of its log.
    pub(crate) fn logs(&self, text: &str) {
        until(&format!("the relay logs {text:?}; it logged:\n{}", self.log()), PATIENCE, || {
            self.log().contains(text)
        });
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap()
    }

    /// How many lines of its log have a text.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.log().lines().filter(|line| line.contains(text)).count()
    }

    /// What of its memory is in the machine's.
    pub(crate) fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().split(' ').next()?.parse().ok())
            .unwrap_or_else(|| panic!("{status}"))
    }

    /// What it has done so far.
    pub(crate) fn stats(&mut self) -> Value {
        self.signal("USR1");
        self.next_stats()
    }

    fn next_stats(&mut self) -> Value {
        let seen = self.seen;
        let line = until_some("the relay prints its figures", PATIENCE, || {
            let text = std::fs::read_to_string(&self.stdout).unwrap();
            // A line that is still being written has no end.
            text.split_inclusive('\n').filter(|line| line.ends_with('\n')).nth(seen).map(str::to_owned)
        });
        self.seen += 1;
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Stops it as an init system does, and returns what it has done.
    pub(crate) fn stop(mut self) -> Value {
        self.signal("TERM");
        let status = self.ends();
        assert!(status.success(), "the relay ended with {status}:\n{}", self.log());
        self.next_stats()
    }

    /// As if the machine had lost power.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ends(&mut self) -> ExitStatus {
        until_some("the relay ends", PATIENCE, || self.child.try_wait().unwrap())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(40).collect();
            crate::figures::report(
                "the log of a relay ends",
                tail.into_iter().rev().collect::<Vec<_>>().join("\n"),
            );
        }
    }
}

fn signal(process: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status().unwrap();
    assert!(sent.success(), "signal {name} to process {process}");
}

/// The number of a field of figures.
pub(crate) fn figure(figures: &Value, field: &str) -> u64 {
    figures[field].as_u64().unwrap_or_else(|| panic!("no {field} in {figures}"))
}
