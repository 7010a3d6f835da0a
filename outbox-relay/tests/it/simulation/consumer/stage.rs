use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outbox_core::{ConsumerName, OrderingKey, OutboxMessage};
use outbox_relay::{Consumer, ConsumerError, ConsumerHandle, Order};
use tokio::sync::mpsc;
use tokio::time::{sleep, sleep_until, timeout};

use super::super::journal::Journal;
use super::super::script::{Script, chance};
use super::broker::Broker;
use super::handling::Handling;
use super::inbox::Inbox;
use super::ledger::Ledger;
use super::plan::{Event, KEYED, KEYS, Nature, Setup};

/// How long a world may take to come to rest, once nothing goes wrong any more.
const LONGEST_END: Duration = Duration::from_secs(12 * 60 * 60);

/// How long it takes until a process that died is there again.
const RESTART: Duration = Duration::from_secs(1);

pub(super) async fn play(script: &Script<Setup, Event>, journal: &Journal) -> Result<u64, String> {
    let mut stage = Stage::new(&script.setup, journal);
    for step in &script.steps {
        journal.note(|| format!("{:?}", step.event));
        stage.happens(&step.event).await?;
        stage.rest(step.pause).await;
        if let Some(broken) = stage.ledger.broken() {
            return Err(broken);
        }
    }
    stage.end().await
}

/// A world under way.
struct Stage<'w> {
    setup: &'w Setup,
    journal: Journal,
    ledger: Arc<Ledger>,
    broker: Arc<Broker>,
    inbox: Arc<Inbox>,
    calm: Arc<AtomicBool>,
    members: Vec<(usize, ConsumerHandle)>,
    /// Members started so far.
    started: usize,
    /// Members that are to die.
    killed: mpsc::UnboundedReceiver<usize>,
    kill: mpsc::UnboundedSender<usize>,
    /// The number of the last message of each key.
    last: [usize; KEYS],
    /// Messages made so far.
    made: u32,
}

impl<'w> Stage<'w> {
    fn new(setup: &'w Setup, journal: &Journal) -> Self {
        let ledger = Arc::new(Ledger::new(setup, journal));
        let (kill, killed) = mpsc::unbounded_channel();
        Self {
            setup,
            journal: journal.clone(),
            broker: Broker::new(setup.broker, Arc::clone(&ledger)),
            inbox: Arc::new(Inbox::new(Arc::clone(&ledger), setup.latency)),
            ledger,
            calm: Arc::default(),
            members: Vec::new(),
            started: 0,
            killed,
            kill,
            last: [0; KEYS],
            made: 0,
        }
    }

    async fn happens(&mut self, event: &Event) -> Result<(), String> {
        let members = self.members.len();
        match event {
            Event::Publish(messages) => messages.iter().for_each(|(key, nature)| self.publish(*key, *nature)),
            Event::Start if members < self.setup.members => self.start(),
            Event::Kill(which) if members > 0 => self.dies(self.members[which % members].0).await,
            Event::Stop(which) if members > 0 => self.stop(which % members).await?,
            Event::Pause(which) if members > 0 => self.members[which % members].1.pause(),
            Event::Resume(which) if members > 0 => self.members[which % members].1.resume(),
            Event::BrokerDown => self.broker.set_down(true),
            Event::BrokerUp => self.broker.set_down(false),
            Event::Cut => self.broker.cut(),
            Event::LoseSettlements { carried_out, count } => self.broker.lose(*count, *carried_out),
            Event::DeliverAgain => self.broker.deliver_again(),
            Event::StoreDown => self.inbox.set_down(true),
            Event::StoreUp => self.inbox.set_down(false),
            Event::LoseAnswers(count) => self.inbox.lose_answers(*count),
            Event::Refuse(count) => self.inbox.refuse(*count),
            // What concerns a member that is not there is nothing: so any part of a script is a script.
            _ => {}
        }
        Ok(())
    }

    fn publish(&mut self, key: usize, nature: Nature) {
        self.made += 1;
        self.last[key] += 1;
        let number = self.last[key];
        let half = |nth| u128::from(chance(0, u128::from(self.made), nth));
        let (name, keyed) = match key < KEYED {
            true => (format!("k{key}/{number}"), Some(OrderingKey::new(format!("k{key}")).unwrap())),
            false => (format!("-/{}", self.made), None),
        };
        let message = OutboxMessage::bytes("orders.placed", name.clone()).unwrap().build().unwrap();
        let mut parts = message.into_parts();
        // No time in it: the age of a message is looked at by the clock of the machine.
        parts.id = uuid::Uuid::from_u128(half(0) << 64 | half(1)).into();
        parts.ordering_key = keyed.clone();
        self.ledger.published(parts.id, name, keyed.map(|key| (key, number)), nature);
        self.broker.publish(OutboxMessage::stored(parts));
    }

    fn start(&mut self) {
        let member = self.started;
        self.started += 1;
        let handling = Handling {
            member,
            ledger: Arc::clone(&self.ledger),
            inbox: Arc::clone(&self.inbox),
            temper: self.setup.temper,
            calm: Arc::clone(&self.calm),
            kill: self.kill.clone(),
        };
        let consumer =
            Consumer::new(ConsumerName::new("billing").unwrap(), self.broker.member(member), handling)
                .inbox(self.inbox.clone())
                .configure(|config| {
                    config.concurrency = self.setup.concurrency;
                    config.order = if self.setup.per_key { Order::PerKey } else { Order::None };
                    config.retry.max_attempts = self.setup.max_attempts;
                    config.handler_timeout = self.setup.handler_timeout;
                    config.shutdown_timeout = self.setup.shutdown_timeout;
                });
        self.members.push((member, consumer.start().unwrap()));
    }

    async fn dies(&mut self, member: usize) {
        let Some(place) = self.members.iter().position(|(number, _)| *number == member) else {
            return;
        };
        self.journal.note(|| format!("  member {member} dies"));
        self.ledger.crashes(member);
        self.members.remove(place).1.abort();
        // The runtime drops what was aborted when it gets to it.
        sleep(Duration::from_millis(1)).await;
    }

    async fn stop(&mut self, which: usize) -> Result<(), String> {
        let (member, handle) = self.members.remove(which);
        self.ledger.stops(member);
        match handle.shutdown().await {
            Err(ConsumerError::Panicked) => Err(format!("a task of member {member} panicked")),
            _ => Ok(()),
        }
    }

    /// Lets time pass. Members die meanwhile if their messages say so.
    async fn rest(&mut self, pause: Duration) {
        let end = tokio::time::Instant::now() + pause;
        loop {
            let member = tokio::select! {
                biased;
                member = self.killed.recv() => member.unwrap(),
                () = sleep_until(end) => return,
            };
            self.dies(member).await;
        }
    }

    /// Everything works from now on, but for messages that are bad by nature. What was promised?
    async fn end(mut self) -> Result<u64, String> {
        self.journal.note(|| "everything works from now on".to_owned());
        self.calm.store(true, Ordering::Relaxed);
        self.inbox.heal();
        self.broker.heal();
        self.members.iter().for_each(|(_, member)| member.resume());
        let broker = Arc::clone(&self.broker);
        let end = async {
            loop {
                if self.members.is_empty() {
                    self.start();
                }
                let member = tokio::select! {
                    biased;
                    member = self.killed.recv() => member.unwrap(),
                    () = broker.drained() => return,
                };
                self.dies(member).await;
                sleep(RESTART).await;
            }
        };
        if timeout(LONGEST_END, end).await.is_err() {
            let stats: Vec<_> = self.members.iter().map(|(_, member)| member.stats()).collect();
            return Err(format!("it does not come to rest: {stats:?}"));
        }
        while !self.members.is_empty() {
            self.stop(0).await?;
        }
        self.ledger.closes()
    }
}
