//! Everything that a run needs: servers, processes, and what stands between them.

mod actor;
mod links;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::Mutex;

pub(crate) use actor::Actor;
pub(crate) use links::Links;

use crate::actors::{ConsumerSettings, ProducerSettings, ROLE, Role};
use crate::brokers::Broker;
use crate::log::Log;
use crate::plan::{LEASE, Plan};
use crate::stores::{Client, Store};

/// Rows that a relay has in memory at most: what it may publish again after a fault.
pub(crate) const WINDOW: usize = 256;

pub(crate) struct World {
    pub(crate) folder: PathBuf,
    pub(crate) log: Arc<Log>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) links: Links,
    pub(crate) relays: Vec<Actor>,
    pub(crate) producer: Actor,
    pub(crate) consumer: Actor,
    /// Whoever does something to the server of the database, or of the broker.
    pub(crate) database_busy: Mutex<()>,
    pub(crate) broker_busy: Mutex<()>,
}

/// What is started.
pub(crate) struct Programs {
    /// The binary `outbox`.
    pub(crate) outbox: PathBuf,
    /// This program.
    pub(crate) harness: PathBuf,
}

/// The servers of a run.
pub(crate) struct Servers {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) links: Links,
}

impl World {
    /// Everything ready, and nobody at work.
    pub(crate) async fn make(
        plan: &Plan,
        servers: Servers,
        folder: &Path,
        programs: &Programs,
        log: Arc<Log>,
    ) -> Result<Self> {
        let Servers { store, broker, links } = servers;
        store.reset().await.context("a fresh database")?;
        broker.prepare().await.context("a fresh broker")?;
        let relays = (0..plan.relays)
            .map(|number| {
                let name = format!("relay{number}");
                let url = store.url(Client::Relay(number), links.relay_database[number].port());
                let transport = broker.transport(links.relay_broker[number].port());
                let command = relay(&programs.outbox, plan, folder, &name, &url, &transport);
                Actor::new(name, Box::new(command))
            })
            .collect();
        let producer = Role::Producer(ProducerSettings {
            store: plan.store,
            database: store.url(Client::Producer, links.producer_database.port()),
            transport: plan.transport,
            seed: plan.seed,
            rate: plan.store.transactions_per_second(),
            writers: 6,
            journal: folder.join("journal"),
        });
        let consumer = Role::Consumer(ConsumerSettings {
            store: plan.store,
            database: store.url(Client::Consumer, links.consumer_database.port()),
            subscription: broker.subscription(links.consumer_broker.port()),
            failures: 5,
            deaths: 5,
        });
        // The group is there before the first message.
        let mut subscription = outbox::connect_subscription(&broker.subscription(links.direct)).await?;
        subscription.check().await.context("the group of the consumers")?;
        subscription.close(Duration::from_secs(5)).await?;
        Ok(Self {
            log,
            store,
            broker,
            links,
            relays,
            producer: actor("producer", plan, &producer, folder, programs)?,
            consumer: actor("consumer", plan, &consumer, folder, programs)?,
            folder: folder.to_owned(),
            database_busy: Mutex::new(()),
            broker_busy: Mutex::new(()),
        })
    }

    pub(crate) fn actors(&self) -> impl Iterator<Item = &Actor> {
        self.relays.iter().chain([&self.producer, &self.consumer])
    }

    /// What keeps processes alive, as an init system does: one that has ended by itself is started again. Never returns.
    pub(crate) async fn supervise(&self) {
        loop {
            for actor in self.actors() {
                actor.revive(&self.log);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The binary, as an init system would start it. Its times are short, so that a run of half a minute sees leases pass.
fn relay(
    outbox: &Path,
    plan: &Plan,
    folder: &Path,
    name: &str,
    store: &str,
    transport: &str,
) -> impl Fn() -> Result<Command> + use<> {
    let (outbox, folder, name) = (outbox.to_owned(), folder.to_owned(), name.to_owned());
    let mut settings = vec![
        ("OUTBOX_STORE_URL".to_owned(), store.to_owned()),
        ("OUTBOX_TRANSPORT_URL".to_owned(), transport.to_owned()),
        ("RUST_LOG".to_owned(), "info,outbox_relay=debug,sqlx=warn".to_owned()),
    ];
    let lease = format!("{}ms", LEASE.as_millis());
    let window = WINDOW.to_string();
    for (key, value) in [
        ("LABEL", name.as_str()),
        ("LEASE_TTL", lease.as_str()),
        ("LEASE_MARGIN", "500ms"),
        ("PUBLISH_TIMEOUT", "2s"),
        ("WINDOW_ROWS", window.as_str()),
        ("BATCH_SIZE", "64"),
        ("RETRY_SCHEDULE", "200ms,500ms,1s,2s"),
        // What a broker refuses for a moment, again and again, is not to be given up.
        ("RETRY_MAX_ATTEMPTS", "8"),
        ("BREAKER_LONGEST", "1s"),
        ("POLL_CALM", "200ms"),
        ("POLL_IDLE", "1s"),
        // Or it would find what the sweep has to find.
        ("BACKSTOP_INTERVAL", "10m"),
        ("SHUTDOWN_TIMEOUT", "8s"),
    ] {
        settings.push((format!("OUTBOX_RELAY_{key}"), value.to_owned()));
    }
    let sabotage = plan.sabotage.clone();
    move || {
        let mut command = Command::new(&outbox);
        command.args(["relay", "--json"]).current_dir(&folder).stdin(Stdio::null());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OUTBOX_")) {
            command.env_remove(name);
        }
        command.envs(settings.iter().map(|(key, value)| (key, value)));
        output(&mut command, &folder, &name, sabotage.as_deref())?;
        Ok(command)
    }
}

/// A process of this program.
fn actor(name: &str, plan: &Plan, role: &Role, folder: &Path, programs: &Programs) -> Result<Actor> {
    let (folder, name) = (folder.to_owned(), name.to_owned());
    let (role, sabotage) = (serde_json::to_string(role)?, plan.sabotage.clone());
    let program = programs.harness.clone();
    let owned = name.clone();
    let command = move || {
        let mut command = Command::new(&program);
        // A pipe that nobody writes to: it ends with whoever has started the process.
        command.env(ROLE, &role).env("RUST_LOG", "info,sqlx=warn").stdin(Stdio::piped());
        output(&mut command, &folder, &owned, sabotage.as_deref())?;
        Ok(command)
    };
    Ok(Actor::new(name, Box::new(command)))
}

/// What it says goes to files; and which defect it has, if it is built with all of them.
fn output(command: &mut Command, folder: &Path, name: &str, sabotage: Option<&str>) -> Result<()> {
    let file = |extension: &str| {
        let path = folder.join(name).with_extension(extension);
        fs::File::options().create(true).append(true).open(path)
    };
    command.stdout(file("out")?).stderr(file("err")?).env("NO_COLOR", "1");
    match sabotage {
        Some(sabotage) => command.env("OUTBOX_SABOTAGE", sabotage),
        None => command.env_remove("OUTBOX_SABOTAGE"),
    };
    Ok(())
}
