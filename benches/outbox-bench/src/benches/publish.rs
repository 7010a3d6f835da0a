//! How fast a transport hands messages to its broker, beside the bare client.

use std::time::Duration;

use anyhow::{Context, Result};
use outbox_core::OutboxMessage;

use crate::broker::{Amqp, Broker, Carried, Kafka, Nats, Redis, ours};
use crate::report::{Measurement, Report, progress, rate};
use crate::workload::Workload;

pub(crate) const NAME: &str = "publish";

const KEYS: u32 = 5_000;
const PAYLOAD: usize = 200;

/// All brokers whose name contains this.
pub(crate) async fn run(workload: &Workload, only: &str, report: &mut Report) -> Result<()> {
    let brokers: [&dyn Broker; 4] = [&Kafka, &Amqp, &Nats, &Redis];
    let messages = messages(workload.messages / 4)?;
    for broker in brokers.into_iter().filter(|broker| broker.name().contains(only)) {
        progress(format_args!("{}: {NAME}", broker.name()));
        for carried in Carried::ALL {
            measure(broker, carried, &messages, workload.rounds, report).await.context(broker.name())?;
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
    for _ in 0..rounds.max(3) {
        let topic = broker.topic().await?;
        let to_topic = addressed(messages, &topic)?;
        let transport = broker.transport(&topic, carried).await?;
        let window = transport.capabilities().max_in_flight;
        best_ours = best_ours.min(ours(&*transport, &to_topic).await?);
        transport.close(Duration::from_secs(10)).await?;
        broker.remove(&topic).await?;

        let topic = broker.topic().await?;
        let to_topic = addressed(messages, &topic)?;
        best_raw = best_raw.min(broker.raw(&topic, &to_topic, window, carried).await?);
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
