//! The relay, beside the writers or in a process of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use outbox_core::Transport;
use outbox_relay::{Relay, RelayHandle, Waker};
use outbox_sqlx::{PostgresStore, PostgresWakeup};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio::runtime::{self, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::producers::names;
use super::stamped::{Arrival, Stamped};
use crate::broker::{Broker, Carried, Kafka, Nats};

/// What a relay is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// Of the database.
    pub(super) url: String,
    pub(super) broker: String,
    pub(super) topic: String,
    /// Whether it listens for notifications.
    pub(super) listen: bool,
}

pub(super) fn broker(name: &str) -> Option<&'static dyn Broker> {
    let brokers: [&'static dyn Broker; 2] = [&Nats, &Kafka];
    brokers.into_iter().find(|broker| broker.name() == name)
}

/// On a runtime of its own, so that its share of a core can be told.
pub(super) struct Embedded {
    runtime: Runtime,
    relay: RelayHandle,
    pub(super) arrivals: UnboundedReceiver<Vec<Arrival>>,
}

impl Embedded {
    pub(super) async fn start(order: Order) -> Result<Self> {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("relay")
            .enable_all()
            .build()?;
        let (sender, arrivals) = unbounded_channel();
        let relay = runtime.spawn(async move {
            let arrived = move |batch: &[Arrival]| {
                // After the end nobody listens any more.
                let _ = sender.send(batch.to_vec());
            };
            start(&order, arrived).await
        });
        Ok(Self { relay: relay.await??, runtime, arrivals })
    }

    pub(super) fn waker(&self) -> Waker {
        self.relay.waker()
    }

    pub(super) async fn stop(self) -> Result<()> {
        let stopped = self.runtime.spawn(self.relay.shutdown()).await;
        self.runtime.shutdown_background();
        stopped??;
        Ok(())
    }
}

/// This program once more, with nothing but a relay in it.
pub(super) struct Process {
    child: Child,
    pub(super) arrivals: UnboundedReceiver<Vec<Arrival>>,
}

/// What the process says when it works.
const READY: u8 = b'!';
/// A number and a time.
const RECORD: usize = 12;

impl Process {
    pub(super) fn start(order: &Order) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.arg("--relay").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        // Not as an argument, which everybody could read: there may be a password in it.
        let input = child.stdin.as_mut().context("no input")?;
        writeln!(input, "{}", serde_json::to_string(order)?)?;
        let mut output = BufReader::new(child.stdout.take().context("no output")?);
        let mut ready = [0];
        output.read_exact(&mut ready).context("the relay's process has ended")?;
        ensure!(ready == [READY], "the relay's process says {ready:?}");
        let (sender, arrivals) = unbounded_channel();
        std::thread::spawn(move || {
            let mut record = [0; RECORD];
            while output.read_exact(&mut record).is_ok() {
                let (Some(number), Some(at)) = (record.first_chunk(), record.last_chunk()) else { break };
                let arrival = Arrival { number: u32::from_le_bytes(*number), at: i64::from_le_bytes(*at) };
                if sender.send(vec![arrival]).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, arrivals })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn stop(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        ensure!(status.success(), "the relay's process ended with {status}");
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

/// What the process of [`Process`] does: it reads its order, relays until its input ends, and writes down when each
/// message arrived.
pub(crate) async fn run_as_process() -> Result<()> {
    let mut order = String::new();
    std::io::stdin().lock().read_line(&mut order)?;
    let output = Mutex::new(std::io::stdout());
    let arrived = move |batch: &[Arrival]| {
        let record = |arrival: &Arrival| {
            let mut record = [0; RECORD];
            record[..4].copy_from_slice(&arrival.number.to_le_bytes());
            record[4..].copy_from_slice(&arrival.at.to_le_bytes());
            record
        };
        let records: Vec<u8> = batch.iter().flat_map(record).collect();
        // When nobody reads any more, this process will be told to end.
        if let Ok(mut output) = output.lock() {
            let _ = output.write_all(&records).and_then(|()| output.flush());
        }
    };
    let relay = start(&serde_json::from_str(&order)?, arrived).await?;
    std::io::stdout().write_all(&[READY])?;
    std::io::stdout().flush()?;
    let ended = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    ended.await??;
    relay.shutdown().await?;
    Ok(())
}

/// A relay that has its leases.
async fn start(order: &Order, arrived: impl Fn(&[Arrival]) + Send + Sync + 'static) -> Result<RelayHandle> {
    let transport: Option<Arc<dyn Transport>> = match broker(&order.broker) {
        Some(broker) => Some(broker.transport(&order.topic, Carried::CloudEvents).await?),
        None => None,
    };
    let store = PostgresStore::from_url_with_names(&order.url, names()?)?;
    let mut relay = Relay::new(store, Stamped::new(transport, arrived));
    if order.listen {
        let pool = PgPool::connect(&order.url).await?;
        relay = relay.wakeup(PostgresWakeup::connect(&pool, &names()?).await?);
    }
    let relay = relay.start().await?;
    let monitor = relay.monitor();
    for _ in 0..1_000 {
        let leases = monitor.status().leases;
        if leases.shards > 0 && leases.shards == leases.of {
            return Ok(relay);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bail!("the relay gets no leases: {:?}", monitor.status())
}
