//! Many runs, one after the other.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::brokers::{Broker, BrokerKind};
use crate::fault::Fault;
use crate::plan::{Choices, Plan};
use crate::results::Record;
use crate::run::{Outcome, run};
use crate::stores::{Store, StoreKind};
use crate::table::name;
use crate::world::{Links, Programs, Servers};

/// The pairs of a campaign that names none, in the order of its runs: PostgreSQL with each broker, and the other databases
/// with one.
const PAIRS: [(StoreKind, BrokerKind); 6] = [
    (StoreKind::Postgres, BrokerKind::Nats),
    (StoreKind::Postgres, BrokerKind::Rabbitmq),
    (StoreKind::Postgres, BrokerKind::Redis),
    (StoreKind::Mariadb, BrokerKind::Nats),
    (StoreKind::Postgres, BrokerKind::Kafka),
    (StoreKind::Sqlite, BrokerKind::Nats),
];

/// What is to be run.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) seed: u64,
    pub(crate) runs: u64,
    /// No run begins after that.
    pub(crate) time: Option<Duration>,
    pub(crate) store: Option<StoreKind>,
    pub(crate) transport: Option<BrokerKind>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) relays: usize,
    pub(crate) seconds: u64,
    pub(crate) sabotage: Option<String>,
}

impl Order {
    /// The database and the broker of a run.
    pub(crate) fn pair(&self, number: u64) -> (StoreKind, BrokerKind) {
        let fits = |(store, transport): &&(StoreKind, BrokerKind)| {
            self.store.is_none_or(|wanted| wanted == *store)
                && self.transport.is_none_or(|wanted| wanted == *transport)
        };
        let pairs: Vec<_> = PAIRS.iter().filter(fits).collect();
        match usize::try_from(number).unwrap_or(0).checked_rem(pairs.len()) {
            Some(place) => *pairs[place],
            // Both are named, and no campaign has them by itself.
            None => (self.store.unwrap_or(StoreKind::Postgres), self.transport.unwrap_or(BrokerKind::Nats)),
        }
    }
}

/// The servers that outlive a run, and the program that is tested.
pub(crate) struct Campaign {
    stores: HashMap<StoreKind, Arc<dyn Store>>,
    /// It takes too long to start for each run to have one.
    rabbitmq: Option<Arc<dyn Broker>>,
    programs: Programs,
    /// Where the folders of the runs are. Those of good runs vanish.
    folder: PathBuf,
    temporary: Option<TempDir>,
}

impl Campaign {
    /// With the binary `outbox` that lies beside this one. Both are copied: what is built meanwhile is not tested.
    pub(crate) fn new(folder: Option<PathBuf>) -> Result<Self> {
        let here = std::env::current_exe()?;
        let outbox = here.with_file_name("outbox");
        ensure!(outbox.is_file(), "{} is missing: build the package outbox-cli", outbox.display());
        let (folder, temporary) = match folder {
            Some(folder) => (std::path::absolute(folder)?, None),
            None => {
                let folder = tempfile::Builder::new().prefix("outbox-chaos-").tempdir()?;
                (folder.path().to_owned(), Some(folder))
            }
        };
        fs::create_dir_all(&folder)?;
        let copy = |program: &Path, name: &str| -> Result<PathBuf> {
            let copy = folder.join(format!("{name}-{}", std::process::id()));
            fs::copy(program, &copy).context("copying the programs")?;
            Ok(copy)
        };
        let programs = Programs { outbox: copy(&outbox, "outbox")?, harness: copy(&here, "outbox-chaos")? };
        Ok(Self { stores: HashMap::new(), rabbitmq: None, programs, folder, temporary })
    }

    /// The runs that are not done yet, until the time is over.
    pub(crate) async fn carry_out(
        &mut self,
        order: &Order,
        is_done: impl Fn(&Plan) -> bool,
        mut each: impl FnMut(Outcome, PathBuf) -> Result<Continue>,
    ) -> Result<()> {
        let begun = Instant::now();
        for number in 0..order.runs {
            let (store, transport) = order.pair(number);
            let choices = Choices {
                store,
                transport,
                faults: order.faults.clone(),
                relays: order.relays,
                seconds: order.seconds,
                sabotage: order.sabotage.clone(),
            };
            let plan = Plan::new(order.seed.wrapping_add(number), &choices);
            if is_done(&plan) {
                continue;
            }
            if order.time.is_some_and(|time| begun.elapsed() >= time) {
                break;
            }
            let (outcome, folder) = self.run(&plan).await?;
            if each(outcome, folder)? == Continue::No {
                break;
            }
        }
        Ok(())
    }

    async fn run(&mut self, plan: &Plan) -> Result<(Outcome, PathBuf)> {
        let folder = format!("{}-{}-{}", plan.seed, name(&plan.store), name(&plan.transport));
        let folder = self.folder.join(folder);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let servers = self.servers(plan).await?;
        let outcome = run(plan, servers, &folder, &self.programs).await?;
        if outcome.story.is_none() {
            fs::remove_dir_all(&folder)?;
        }
        Ok((outcome, folder))
    }

    async fn servers(&mut self, plan: &Plan) -> Result<Servers> {
        let store = match self.stores.get(&plan.store) {
            Some(store) => Arc::clone(store),
            None => {
                let store = plan.store.start().await?;
                self.stores.insert(plan.store, Arc::clone(&store));
                store
            }
        };
        let running = match plan.transport {
            BrokerKind::Rabbitmq => self.rabbitmq.clone(),
            _ => None,
        };
        let (links, broker) = Links::make(plan.transport, running, &*store).await?;
        if plan.transport == BrokerKind::Rabbitmq {
            self.rabbitmq = Some(Arc::clone(&broker));
        }
        Ok(Servers { store, broker, links })
    }

    /// Keeps the folders of the runs.
    pub(crate) fn keep(&mut self) {
        if let Some(folder) = self.temporary.take() {
            let _ = folder.keep();
        }
    }
}

impl Drop for Campaign {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.programs.outbox);
        let _ = fs::remove_file(&self.programs.harness);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Continue {
    Yes,
    No,
}

/// A run in one line.
pub(crate) fn line(record: &Record) -> String {
    let verdict = if record.violations.is_empty() {
        "good".to_owned()
    } else {
        format!("{} VIOLATIONS", record.violations.len())
    };
    format!(
        "seed {} {} × {}: {} injections, {} committed, {} second copies of at most {}, drained in {:.1} s: {verdict}",
        record.seed,
        name(&record.store),
        name(&record.transport),
        record.injected(),
        record.committed,
        record.duplicates,
        record.duplicates_allowed,
        Duration::from_millis(record.drained_ms).as_secs_f64(),
    )
}
