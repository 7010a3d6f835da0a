use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use outbox::Event as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::ParcelScanned;

/// A record as it lies in the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The header `ce_id`.
    pub id: String,
    /// The key.
    pub key: Option<String>,
    /// The payload.
    pub scan: ParcelScanned,
}

/// Reads the topic from its beginning until it is told to stop, with a client that knows nothing of an outbox.
pub struct Reader {
    consumer: Arc<BaseConsumer>,
    records: Arc<Mutex<Vec<Record>>>,
    stop: Arc<AtomicBool>,
    reading: JoinHandle<Result<()>>,
}

const PATIENCE: Duration = Duration::from_secs(10);

impl Reader {
    /// Begins.
    ///
    /// # Errors
    ///
    /// If Kafka does not answer.
    pub async fn start(mut client: ClientConfig) -> Result<Self> {
        client.set("group.id", "reader").set("enable.auto.commit", "false").set("fetch.wait.max.ms", "10");
        // What the stand-in for Kafka calls the last stable offset lags behind.
        client.set("isolation.level", "read_uncommitted");
        let consumer: Arc<BaseConsumer> = Arc::new(client.create()?);
        let all = Arc::clone(&consumer);
        spawn_blocking(move || {
            let mut from_the_beginning = TopicPartitionList::new();
            for partition in partitions(&all)? {
                from_the_beginning.add_partition_offset(
                    ParcelScanned::TOPIC,
                    partition,
                    Offset::Beginning,
                )?;
            }
            Ok::<_, anyhow::Error>(all.assign(&from_the_beginning)?)
        })
        .await??;
        let (records, stop) = (Arc::<Mutex<Vec<Record>>>::default(), Arc::<AtomicBool>::default());
        let reading = spawn_blocking({
            let (consumer, records, stop) = (Arc::clone(&consumer), Arc::clone(&records), Arc::clone(&stop));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    // Errors are outages here: it goes on where it was.
                    if let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) {
                        let record = record(&message)?;
                        records.lock().unwrap_or_else(PoisonError::into_inner).push(record);
                    }
                }
                Ok(())
            }
        });
        Ok(Self { consumer, records, stop, reading })
    }

    /// Reads everything that the topic has now, and stops.
    ///
    /// # Errors
    ///
    /// If Kafka does not answer, or what is there does not come.
    pub async fn finish(self) -> Result<Vec<Record>> {
        let consumer = Arc::clone(&self.consumer);
        let there = spawn_blocking(move || {
            let mut there = 0;
            for partition in partitions(&consumer)? {
                let (low, high) = consumer.fetch_watermarks(ParcelScanned::TOPIC, partition, PATIENCE)?;
                there += usize::try_from(high - low)?;
            }
            Ok::<_, anyhow::Error>(there)
        });
        let there = there.await??;
        let begun = Instant::now();
        while self.count() < there {
            let (count, running) = (self.count(), !self.reading.is_finished());
            ensure!(running && begun.elapsed() < PATIENCE * 6, "{count} of {there} records were read");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.stop.store(true, Ordering::Relaxed);
        self.reading.await??;
        Ok(std::mem::take(&mut *self.records.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    fn count(&self) -> usize {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("read", &self.count()).finish_non_exhaustive()
    }
}

fn partitions(consumer: &BaseConsumer) -> Result<Vec<i32>> {
    let metadata = consumer.fetch_metadata(Some(ParcelScanned::TOPIC), PATIENCE)?;
    let found = metadata.topics().iter().find(|topic| topic.name() == ParcelScanned::TOPIC);
    let partitions = found.context("the topic is missing")?.partitions();
    Ok(partitions.iter().map(|partition| partition.id()).collect())
}

fn record(message: &BorrowedMessage<'_>) -> Result<Record> {
    let headers = message.headers().context("a record without headers")?;
    let id = headers.iter().find(|header| header.key == "ce_id").and_then(|header| header.value);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec());
    Ok(Record {
        id: text(id.ok_or_else(|| anyhow!("a record without an id"))?)?,
        key: message.key().map(text).transpose()?,
        scan: serde_json::from_slice(message.payload().unwrap_or_default())?,
    })
}
