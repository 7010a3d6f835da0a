use std::time::Duration;

use super::super::script::{Script, Simpler, Step};

/// Keys that messages have; the last ones stand for none.
pub(crate) const KEYS: usize = 8;
pub(crate) const KEYED: usize = 6;

#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) broker: Traits,
    /// Members of the group at a time, at most.
    pub(crate) members: usize,
    pub(crate) per_key: bool,
    pub(crate) concurrency: usize,
    pub(crate) max_attempts: u16,
    pub(crate) handler_timeout: Duration,
    pub(crate) shutdown_timeout: Duration,
    /// How long a statement of the inbox takes.
    pub(crate) latency: Duration,
    /// What the handler does with each message and try; `None` if all of them work.
    pub(crate) temper: Option<u64>,
}

/// In what brokers differ.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Traits {
    pub(crate) kind: Kind,
    pub(crate) prefetch: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Deliveries are counted; what a connection holds comes again when it ends, and only it can settle it.
    Channel,
    /// Deliveries are counted; what nobody has settled or extended comes again after this time, and can be settled by
    /// whoever knows it.
    Timed(Duration),
    /// Nothing is counted. Everything behind the first message that is not settled comes again with each assignment, also
    /// what was settled.
    Log,
}

#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// Messages of these keys, and what they are like.
    Publish(Vec<(usize, Nature)>),
    /// A member comes.
    Start,
    /// The process of a member dies.
    Kill(usize),
    /// A member is shut down, and another event waits for that.
    Stop(usize),
    Pause(usize),
    Resume(usize),
    /// The broker is out of reach, and every connection ends.
    BrokerDown,
    BrokerUp,
    /// Every connection ends once.
    Cut,
    /// Settlements are lost: the next ones are not carried out, or only their confirmations don't arrive.
    LoseSettlements {
        carried_out: bool,
        count: usize,
    },
    /// What is being handled is delivered once more.
    DeliverAgain,
    StoreDown,
    StoreUp,
    /// The database carries out the next writes, but their answers are lost.
    LoseAnswers(usize),
    /// The database refuses the next writes.
    Refuse(usize),
}

/// What a message is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nature {
    /// It does what chance says, and works in the end.
    Good,
    /// It works, and takes five seconds.
    Slow,
    /// Every try fails.
    Poison,
    /// Every try takes the process down.
    Killer,
    /// It is no message of an outbox.
    Foreign,
}

pub(crate) fn imagine(random: &mut fastrand::Rng) -> Script<Setup, Event> {
    let prefetch = random.usize(1..24);
    let kind = match random.u8(0..3) {
        0 => Kind::Channel,
        1 => Kind::Timed(Duration::from_secs(random.u64(6..40))),
        _ => Kind::Log,
    };
    let setup = Setup {
        broker: Traits { kind, prefetch },
        // A log gives each key to one member; this one has one partition.
        members: if kind == Kind::Log { 1 } else { random.usize(1..=2) },
        per_key: random.u8(0..5) > 0,
        concurrency: random.usize(1..=prefetch.min(6)),
        max_attempts: random.u16(1..6),
        handler_timeout: Duration::from_secs(random.u64(2..30)),
        shutdown_timeout: Duration::from_secs(random.u64(0..10)),
        latency: Duration::from_millis(random.u64(0..20)),
        temper: Some(random.u64(..)),
    };
    let mut steps = vec![Step { event: Event::Start, pause: Duration::ZERO }];
    steps.extend((0..50).map(|_| Step { event: event(random), pause: pause(random) }));
    Script { setup, steps }
}

fn event(random: &mut fastrand::Rng) -> Event {
    match random.u8(0..40) {
        0..=2 => Event::Start,
        3 | 4 => Event::Kill(random.usize(0..2)),
        5 | 6 => Event::Stop(random.usize(0..2)),
        7 => Event::Pause(random.usize(0..2)),
        8 | 9 => Event::Resume(random.usize(0..2)),
        10 => Event::BrokerDown,
        11..=13 => Event::BrokerUp,
        14 => Event::Cut,
        15 => Event::LoseSettlements { carried_out: random.bool(), count: random.usize(1..4) },
        16 => Event::DeliverAgain,
        17 => Event::StoreDown,
        18..=20 => Event::StoreUp,
        21 => Event::LoseAnswers(random.usize(1..4)),
        22 => Event::Refuse(random.usize(1..4)),
        _ => {
            Event::Publish((0..random.usize(1..6)).map(|_| (random.usize(0..KEYS), nature(random))).collect())
        }
    }
}

fn nature(random: &mut fastrand::Rng) -> Nature {
    match random.u8(0..100) {
        0..3 => Nature::Poison,
        3 => Nature::Killer,
        4 => Nature::Foreign,
        5..8 => Nature::Slow,
        _ => Nature::Good,
    }
}

/// Mostly short, so that much is under way at once, and sometimes longer than any pause between two tries.
fn pause(random: &mut fastrand::Rng) -> Duration {
    Duration::from_millis(match random.u8(0..10) {
        0..3 => 0,
        3..9 => random.u64(0..3_000),
        _ => random.u64(0..120_000),
    })
}

impl Simpler for Setup {
    fn simpler(&self) -> Vec<Self> {
        let mut simpler = Vec::new();
        if self.temper.is_some() {
            simpler.push(Self { temper: None, ..self.clone() });
        }
        if !self.latency.is_zero() {
            simpler.push(Self { latency: Duration::ZERO, ..self.clone() });
        }
        if self.concurrency > 1 {
            simpler.push(Self { concurrency: 1, ..self.clone() });
        }
        if self.members > 1 {
            simpler.push(Self { members: 1, ..self.clone() });
        }
        simpler
    }
}

impl Simpler for Event {
    fn simpler(&self) -> Vec<Self> {
        match self {
            Self::Publish(messages) if messages.len() > 1 => {
                let (front, back) = messages.split_at(messages.len() / 2);
                vec![Self::Publish(front.to_vec()), Self::Publish(back.to_vec())]
            }
            Self::Publish(messages) if messages[0].1 != Nature::Good => {
                vec![Self::Publish(vec![(messages[0].0, Nature::Good)])]
            }
            Self::LoseAnswers(count) if *count > 1 => vec![Self::LoseAnswers(1)],
            Self::Refuse(count) if *count > 1 => vec![Self::Refuse(1)],
            Self::LoseSettlements { carried_out, count } if *count > 1 => {
                vec![Self::LoseSettlements { carried_out: *carried_out, count: 1 }]
            }
            _ => Vec::new(),
        }
    }
}
