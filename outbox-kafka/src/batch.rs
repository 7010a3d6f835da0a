use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::sync::Arc;
use std::time::Duration;

use outbox_core::{Envelope, OutboxMessage, PublishError, PublishErrorKind};
use rdkafka::error::KafkaError;
use rdkafka::message::OwnedHeaders;
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::time::{Instant, sleep, timeout_at};

use crate::call::Call;
use crate::codec::{self, Encoded, order_of};
use crate::error::{Failure, publish_error};
use crate::link::Link;
use crate::producer::{Client, Producer, Record};
use crate::topics::{Bad, Topics};

pub(crate) type PublishResult = Result<(), PublishError>;

/// The messages of one call, each as a record or with its result.
///
/// They are sent in waves, each when the one before it is confirmed. Mostly there is one. Within a partition librdkafka
/// and the broker keep the order, and nobody keeps one between partitions: where a batch has a key in several topics,
/// each change of topic begins another wave. So does the second message of a key where a partition may not know the
/// producer yet ([`Standing`](crate::standing::Standing)).
pub(crate) struct Batch<'a> {
    entries: Vec<Entry<'a>>,
    waves: usize,
}

struct Entry<'a> {
    message: &'a OutboxMessage,
    wave: usize,
    state: State<'a>,
}

/// The last message of a key.
struct Last<'a> {
    topic: &'a str,
    wave: usize,
    /// No other message of its key goes to its topic in this wave.
    alone: bool,
}

enum State<'a> {
    Ready(Encoded<'a>),
    UnderWay { size: usize },
    Done(PublishResult),
}

/// Keys of which a message has failed, and whether by an outage: nothing of them is sent any more.
#[derive(Default)]
struct Stopped<'a>(HashMap<&'a str, bool>);

impl<'a> Stopped<'a> {
    fn note(&mut self, entry: &Entry<'a>) {
        if let (Some(key), State::Done(Err(error))) = (order_of(entry.message), &entry.state) {
            let outage = matches!(error.kind(), PublishErrorKind::Unavailable | PublishErrorKind::Unknown);
            self.0.entry(key).or_insert(outage);
        }
    }

    /// Gives up a message that is behind a failed one.
    fn apply(&self, entry: &mut Entry<'a>) {
        let outage = order_of(entry.message).and_then(|key| self.0.get(key).copied());
        if let (Some(outage), State::Ready(_)) = (outage, &entry.state) {
            entry.state = State::Done(Err(publish_error(Failure::Behind { outage })));
        }
    }
}

impl<'a> Batch<'a> {
    pub(crate) fn encode(messages: &'a [OutboxMessage], envelope: &Envelope) -> Self {
        let mut entries = Vec::with_capacity(messages.len());
        for message in messages {
            let state = match codec::encode(message, envelope) {
                Ok(encoded) => State::Ready(encoded),
                Err(error) => State::Done(Err(error)),
            };
            entries.push(Entry { message, wave: 0, state });
        }
        Self { entries, waves: 1 }
    }

    /// Decides who goes with which wave.
    fn plan(&mut self, producer: &Producer, topics: &Topics) {
        let mut settled: HashMap<&str, bool> = HashMap::new();
        let mut keys: HashMap<&str, Last<'_>> = HashMap::with_capacity(self.entries.len());
        for entry in &mut self.entries {
            let Some(key) = order_of(entry.message) else {
                continue;
            };
            let topic = entry.message.topic().as_str();
            match keys.entry(key) {
                Vacant(first) => {
                    first.insert(Last { topic, wave: 0, alone: true });
                }
                Occupied(mut last) => {
                    let last = last.get_mut();
                    let known = || producer.standing.is_settled(topic, topics.partitions(topic));
                    if last.topic != topic {
                        *last = Last { topic, wave: last.wave + 1, alone: true };
                    } else if last.alone {
                        last.alone = false;
                        last.wave += usize::from(!*settled.entry(topic).or_insert_with(known));
                    }
                    entry.wave = last.wave;
                    self.waves = self.waves.max(last.wave + 1);
                }
            }
        }
    }

    pub(crate) fn sendable(&self) -> usize {
        self.entries.iter().filter(|entry| matches!(entry.state, State::Ready(_))).count()
    }

    pub(crate) fn topics(&self) -> impl Iterator<Item = &'a str> {
        let ready = |entry: &Entry<'a>| match &entry.state {
            State::Ready(encoded) => Some(encoded.topic()),
            _ => None,
        };
        self.entries.iter().filter_map(ready)
    }

    /// Gives up the messages of these topics.
    pub(crate) fn refuse(&mut self, bad: &Bad<'_>) {
        for entry in &mut self.entries {
            if let State::Ready(encoded) = &entry.state
                && let Some(error) = bad.get(encoded.topic())
            {
                entry.state = State::Done(Err(PublishError::new(error.kind(), error.to_string())));
            }
        }
    }

    /// The results if none is sent.
    pub(crate) fn unsent(mut self, why: impl Fn() -> PublishError) -> Vec<PublishResult> {
        for entry in &mut self.entries {
            if !matches!(entry.state, State::Done(_)) {
                entry.state = State::Done(Err(why()));
            }
        }
        self.results()
    }

    /// Hands the records to the producer, wave by wave, and waits for the reports, so that all of a wave are under way
    /// together.
    pub(crate) async fn send(
        mut self,
        producer: &Producer,
        link: &Link,
        topics: &Topics,
        deadline: Instant,
    ) -> Vec<PublishResult> {
        // A call that is dropped half-way leaves records behind that nobody waits for.
        let mut doubt = Doubt::about(producer);
        let mut stopped = Stopped::default();
        self.plan(producer, topics);
        for wave in 0..self.waves {
            let call = Call::new(self.entries.len());
            self.hand_over(producer, &call, wave, &mut stopped, deadline).await;
            #[cfg(outbox_sabotage)]
            if outbox_core::sabotage::is("drop-without-flush") {
                for entry in &mut self.entries {
                    if let State::UnderWay { .. } = entry.state {
                        entry.state = State::Done(Ok(()));
                    }
                }
                continue;
            }
            // Without an answer in time, the reports that are there count all the same.
            let _ = timeout_at(deadline, call.finished()).await;
            self.collect(producer, link, topics, &call, &mut stopped);
        }
        let unknown = |entry: &Entry<'_>| match &entry.state {
            State::Done(Err(error)) => error.kind() == PublishErrorKind::Unknown,
            _ => false,
        };
        doubt.cleared = !self.entries.iter().any(unknown);
        self.results()
    }

    async fn hand_over(
        &mut self,
        producer: &Producer,
        call: &Arc<Call>,
        wave: usize,
        stopped: &mut Stopped<'a>,
        deadline: Instant,
    ) {
        let mut next = 0;
        loop {
            let added = producer.add(|client| self.add(client, call, wave, stopped, &mut next));
            let why: fn() -> Failure<'static> = match added {
                Some(true) => return,
                None => || Failure::Lost,
                Some(false) if Instant::now() >= deadline => || Failure::NotSent,
                Some(false) => {
                    // librdkafka counts a record until its report was handed out, and has no call-back for that moment.
                    sleep(Duration::from_millis(1)).await;
                    continue;
                }
            };
            for entry in self.entries.iter_mut().filter(|entry| entry.wave == wave) {
                stopped.apply(entry);
                if let State::Ready(_) = entry.state {
                    entry.state = State::Done(Err(publish_error(why())));
                    stopped.note(entry);
                }
            }
            return;
        }
    }

    /// Adds records in their order; `false` if the queue is full, and `next` is where to go on.
    fn add(
        &mut self,
        client: &Client,
        call: &Arc<Call>,
        wave: usize,
        stopped: &mut Stopped<'a>,
        next: &mut usize,
    ) -> bool {
        while let Some(entry) = self.entries.get_mut(*next) {
            if entry.wave != wave {
                *next += 1;
                continue;
            }
            stopped.apply(entry);
            entry.state = match std::mem::replace(&mut entry.state, State::Done(Ok(()))) {
                State::Ready(encoded) => match add_one(client, encoded, call, *next) {
                    Ok(added) => added,
                    Err(full) => {
                        entry.state = State::Ready(full);
                        return false;
                    }
                },
                other => other,
            };
            stopped.note(entry);
            *next += 1;
        }
        true
    }

    fn collect(
        &mut self,
        producer: &Producer,
        link: &Link,
        topics: &Topics,
        call: &Call,
        stopped: &mut Stopped<'a>,
    ) {
        let mut settled: HashMap<&str, bool> = HashMap::new();
        for (place, entry) in self.entries.iter_mut().enumerate() {
            let State::UnderWay { size } = entry.state else {
                continue;
            };
            let topic = entry.message.topic().as_str();
            let result = match call.report(place) {
                Some(Ok(partition)) => {
                    let known = || producer.standing.is_settled(topic, topics.partitions(topic));
                    if !*settled.entry(topic).or_insert_with(known) {
                        producer.standing.took(topic, partition);
                    }
                    Ok(())
                }
                Some(Err(code)) => {
                    topics.reported(topic, code);
                    // A record of this size never shares a batch.
                    let alone = size >= producer.batch_bytes;
                    if !alone && matches!(code, Code::MessageSizeTooLarge | Code::MessageBatchTooLarge) {
                        link.refused(producer);
                    }
                    Err(publish_error(Failure::Report { topic, code, alone, size }))
                }
                None => Err(publish_error(Failure::NoReport { reason: producer.health().reason() })),
            };
            entry.state = State::Done(result);
            stopped.note(entry);
        }
    }

    fn results(self) -> Vec<PublishResult> {
        let result = |entry: Entry<'_>| match entry.state {
            State::Done(result) => result,
            // Never: every wave was handed over and collected.
            State::Ready(_) | State::UnderWay { .. } => {
                Err(publish_error(Failure::NoReport { reason: None }))
            }
        };
        self.entries.into_iter().map(result).collect()
    }
}

/// `Err` gives the record back because the queue is full.
fn add_one<'a>(
    client: &Client,
    encoded: Encoded<'a>,
    call: &Arc<Call>,
    place: usize,
) -> Result<State<'a>, Encoded<'a>> {
    let Encoded { message, headers, timestamp, size } = encoded;
    let topic = message.topic().as_str();
    let record = Record {
        topic,
        partition: None,
        payload: Some(&message.payload()[..]),
        key: message.ordering_key().map(|key| key.as_str().as_bytes()),
        timestamp,
        headers: Some(headers),
        delivery_opaque: call.ticket(place),
    };
    match client.send(record) {
        Ok(()) => Ok(State::UnderWay { size }),
        Err((KafkaError::MessageProduction(Code::QueueFull), record)) => {
            let headers = record.headers.unwrap_or_else(OwnedHeaders::new);
            Err(Encoded { message, headers, timestamp, size })
        }
        Err((error, _)) => {
            let code = error.rdkafka_error_code().unwrap_or(Code::InvalidArgument);
            Ok(State::Done(Err(publish_error(Failure::NotTaken { topic, code, size }))))
        }
    }
}

/// Ends the producer when it is dropped, unless it was cleared: what nobody waits for must not be sent.
pub(crate) struct Doubt<'a> {
    producer: &'a Producer,
    pub(crate) cleared: bool,
}

impl<'a> Doubt<'a> {
    pub(crate) const fn about(producer: &'a Producer) -> Self {
        Self { producer, cleared: false }
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if !self.cleared {
            self.producer.stop();
        }
    }
}
