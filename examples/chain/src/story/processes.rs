use std::fs::{self, OpenOptions};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::run::Run;
use crate::service::orders::Orders;
use crate::service::{billing, orders, shipping};

/// A service takes as long as that to end, at most.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// The services, each a process of this same program.
pub(super) struct Processes {
    run: Run,
    orders: Orders,
    seed: u64,
    random: fastrand::Rng,
    processes: [Process; 3],
}

struct Process {
    service: &'static str,
    child: Option<Child>,
    starts: u64,
    kills: u64,
}

impl Processes {
    pub(super) fn start(run: &Run, orders: Orders, seed: u64) -> Result<Self> {
        let processes = [orders::NAME, billing::NAME, shipping::NAME].map(|service| Process {
            service,
            child: None,
            starts: 0,
            kills: 0,
        });
        let random = fastrand::Rng::with_seed(seed);
        let mut started = Self { run: run.clone(), orders, seed, random, processes };
        started.revive()?;
        Ok(started)
    }

    /// Starts what is not running.
    pub(super) fn revive(&mut self) -> Result<()> {
        for process in &mut self.processes {
            if let Some(child) = &mut process.child
                && let Some(status) = child.try_wait()?
            {
                if let Some(code) = status.code() {
                    let log = fs::read_to_string(self.run.log(process.service)).unwrap_or_default();
                    let end: Vec<&str> = log.lines().rev().take(5).collect();
                    let end = end.into_iter().rev().collect::<Vec<_>>().join("\n");
                    bail!("{} has ended with {code}:\n{end}", process.service);
                }
                // A signal: ours, or that of its own abort.
                process.child = None;
            }
            if process.child.is_none() {
                process.starts += 1;
                let seed = self.seed.wrapping_mul(1_000).wrapping_add(process.starts);
                process.child = Some(spawn(&self.run, &self.orders, process.service, seed)?);
            }
        }
        Ok(())
    }

    /// `kill -9`: no handler ends, nothing is handed back, no lease is released.
    pub(super) fn kill_one(&mut self) {
        let process = &mut self.processes[self.random.usize(..3)];
        if let Some(child) = &mut process.child
            && child.start_kill().is_ok()
        {
            process.kills += 1;
        }
    }

    /// Ends all of them in an orderly way.
    pub(super) async fn stop(&mut self) -> Result<()> {
        for process in &mut self.processes {
            // They stop when their standard input is closed.
            drop(process.child.as_mut().and_then(|child| child.stdin.take()));
        }
        for process in &mut self.processes {
            let Some(mut child) = process.child.take() else { continue };
            let ended = timeout(STOP_LIMIT, child.wait()).await;
            let status = ended.with_context(|| format!("{} does not end", process.service))??;
            if status.code().is_some_and(|code| code != 0) {
                bail!("{} has ended with {status}", process.service);
            }
        }
        Ok(())
    }

    pub(super) fn kills(&self) -> u64 {
        self.processes.iter().map(|process| process.kills).sum()
    }

    /// After kills and aborts.
    pub(super) fn restarts(&self) -> u64 {
        self.processes.iter().map(|process| process.starts.saturating_sub(1)).sum()
    }

    pub(super) fn kills_of(&self, service: &str) -> u64 {
        self.processes.iter().filter(|process| process.service == service).map(|process| process.kills).sum()
    }
}

fn spawn(run: &Run, orders: &Orders, service: &'static str, seed: u64) -> Result<Child> {
    let log = OpenOptions::new().create(true).append(true).open(run.log(service))?;
    let mut command = Command::new(std::env::current_exe()?);
    let mishaps = &orders.mishaps;
    command
        .arg(service)
        .args(["--fail", &mishaps.fail.to_string()])
        .args(["--abort", &mishaps.abort.to_string()])
        .args(["--seed", &seed.to_string()])
        .envs(run.environment());
    if service == orders::NAME {
        command.args(["--rate", &orders.rate.to_string()]);
        for (name, value) in [
            ("--count", orders.count.map(|count| count.to_string())),
            ("--until", orders.until.map(|until| until.to_string())),
        ] {
            command.args(value.iter().flat_map(|value| [name, value]));
        }
    }
    // Its end is closed when this process ends, however that happens.
    let command = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
    command.spawn().with_context(|| format!("{service} does not start"))
}
