use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::worker::{READY, SETTINGS, STATS, Settings, TROUBLE};

const KILLED: i32 = 9;
/// How long a worker may take to end that was told to.
const PATIENCE: Duration = Duration::from_secs(60);

/// A consumer in a process of its own, killed when it is dropped.
pub(crate) struct Worker {
    child: Child,
    id: u32,
    /// What it says.
    lines: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    /// Returns when it can be told to end.
    pub(crate) async fn start(settings: &Settings) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "worker::worker", "--ignored", "--nocapture"]);
        command.env(SETTINGS, serde_json::to_string(settings).unwrap());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let id = child.id().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = async { while lines.next_line().await.unwrap().unwrap() != READY {} };
        timeout(PATIENCE, ready)
            .await
            .unwrap_or_else(|_| panic!("worker {id} did not start in {PATIENCE:?}"));
        Self { child, id, lines }
    }

    pub(crate) const fn id(&self) -> u32 {
        self.id
    }

    /// Waits until it has died.
    pub(crate) async fn died(mut self, limit: Duration) {
        let status = timeout(limit, self.child.wait()).await;
        was_killed(status.unwrap_or_else(|_| panic!("worker {} lives after {limit:?}", self.id)).unwrap());
    }

    /// Whether it has died, just now or before.
    pub(crate) fn is_dead(&mut self) -> bool {
        let status = self.child.try_wait().unwrap();
        status.map(was_killed).is_some()
    }

    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Tells it to end, and returns its figures when it has.
    pub(crate) async fn stop(self) -> Stats {
        let id = self.id;
        self.stop_in_a_storm().await.unwrap_or_else(|trouble| panic!("worker {id}: {trouble}"))
    }

    /// The same, where the broker may not know of the last settlements.
    pub(crate) async fn stop_in_a_storm(mut self) -> Result<Stats, String> {
        let process = self.id.to_string();
        let told = Command::new("kill").args(["-TERM", &process]).status().await;
        assert!(told.unwrap().success(), "worker {process} can be told");
        let ended = async {
            let mut last = None;
            while let Some(line) = self.lines.next_line().await.unwrap() {
                let stats =
                    line.strip_prefix(STATS).map(|stats| Ok(Stats(serde_json::from_str(stats).unwrap())));
                let trouble = line.strip_prefix(TROUBLE).map(|text| Err(text.to_owned()));
                last = stats.or(trouble).or(last);
            }
            (self.child.wait().await.unwrap(), last)
        };
        let ended = timeout(PATIENCE, ended).await;
        let (status, last) = ended.unwrap_or_else(|_| panic!("worker {process} did not end in {PATIENCE:?}"));
        assert!(status.success(), "worker {process}: {status}");
        last.unwrap()
    }
}

#[track_caller]
fn was_killed(status: ExitStatus) {
    assert_eq!(status.signal(), Some(KILLED), "a worker ended by itself: {status}");
}

/// The figures of a consumer.
#[derive(Debug)]
pub(crate) struct Stats(Value);

impl Stats {
    pub(crate) fn get(&self, name: &str) -> usize {
        usize::try_from(self.0[name].as_u64().unwrap_or_else(|| panic!("{name} in {self:?}"))).unwrap()
    }
}
