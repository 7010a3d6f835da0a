//! How fast a transport hands messages to its broker, beside the bare client.

use std::time::Duration;

use anyhow::{Context, Result};
use outbox_core::OutboxMessage;

use crate::broker::{ALL, Broker, Carried, ours, raw};
use crate::report::{Measurement, Report, progress, rate};
use crate::workload::Workload;

pub(crate) const NAME: &str = "publish";

const KEYS: u32 = 5_000;
const PAYLOAD: usize = 200;

/// All brokers whose name contains this.
pub(crate) async fn run(workload: &Workload, only: &str, report: &mut Report) -> Result<()> {
    let messages = messages(workload.messages / 4)?;
    for broker in ALL.into_iter().filter(|broker| broker.name().contains(only)) {
        progress(format_args!("{}: {NAME}", broker.name()));
        for carried in Carried::ALL {
            let rounds = if workload.is_quick() { 1 } else { workload.rounds.max(3) };
            measure(broker, carried, &messages, rounds, report).await.context(broker.name())?;
        }
    }
    Ok(())
}

async fn measure(
    broker: &dyn Broker,
    carried: Carried,
    messages: &[OutboxMessage],
    rounds: u32,
    report: &mut Report,
) -> Result<()> {
    let (mut best_ours, mut best_raw) = (Duration::MAX, Duration::MAX);
    for _ in 0..rounds {
        let topic = broker.topic().await?;
        let to_topic = addressed(messages, &topic)?;
        let transport = broker.transport(&topic, carried).await?;
        let window = transport.capabilities().max_in_flight;
        best_ours = best_ours.min(ours(&*transport, &to_topic).await?);
        transport.close(Duration::from_secs(10)).await?;
        broker.remove(&topic).await?;

        let topic = broker.topic().await?;
        let to_topic = addressed(messages, &topic)?;
        let mut bare = broker.bare(&topic, window, carried).await?;
        best_raw = best_raw.min(raw(&mut *bare, &to_topic).await?);
        broker.remove(&topic).await?;
    }
    let count = u32::try_from(messages.len())?;
    report.push(Measurement {
        bench: NAME,
        store: "none",
        orm: "none",
        transport: broker.name(),
        variant: format!("{PAYLOAD} bytes, {KEYS} keys, {}", carried.name()),
        ours: Some(rate(count, best_ours)),
        raw: Some(rate(count, best_raw)),
        unit: "msg/s",
    });
    Ok(())
}

fn messages(count: u32) -> Result<Vec<OutboxMessage>> {
    (0..count)
        .map(|n| {
            let message =
                OutboxMessage::bytes("bench", vec![b'x'; PAYLOAD])?.ordering_key(n % KEYS).build()?;
            Ok(message)
        })
        .collect()
}

/// The same with ids of their own, to this topic.
fn addressed(messages: &[OutboxMessage], topic: &str) -> Result<Vec<OutboxMessage>> {
    messages
        .iter()
        .map(|message| {
            let mut parts = message.clone().into_parts();
            parts.topic = outbox_core::Topic::new(topic)?;
            parts.id = outbox_core::MessageId::new();
            Ok(OutboxMessage::stored(parts))
        })
        .collect()
}
