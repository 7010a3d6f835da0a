use stateright::{Model, Property};

use crate::database::Database;
use crate::promises;
use crate::relay::Relay;
use crate::world::{Event, Seen, World};

/// What there is, and what may go wrong how often.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Protocol {
    pub(crate) relays: u8,
    /// Messages, all of one key: they are committed one after the other.
    pub(crate) messages: u8,
    pub(crate) budget: Budget,
    /// A rule that is left out.
    pub(crate) without: Option<Rule>,
}

/// How often something may happen, so that there is an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    /// A process dies. It comes back.
    pub(crate) crashes: u8,
    /// A process stands still, for as long as it takes the others to do whatever they want.
    pub(crate) pauses: u8,
    /// A relay can't renew its lease in time.
    pub(crate) doubts: u8,
    /// A publish gets no answer in time.
    pub(crate) timeouts: u8,
    /// The broker refuses a message for now.
    pub(crate) failures: u8,
    /// A relay hands its shard over.
    pub(crate) releases: u8,
}

impl Budget {
    pub(crate) const fn one_of_each() -> Self {
        Self { crashes: 1, pauses: 1, doubts: 1, timeouts: 1, failures: 1, releases: 1 }
    }
}

/// What the promises rest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// A settle changes nothing unless its relay owns the shard, in the same epoch.
    SettlesAreFenced,
    /// A lease that its owner trusts does not run out: the owner counts from before it asked, and less a margin.
    LeasesAreByTheDatabasesClock,
    LeasesRunOut,
    SettledIsWhatWasConfirmed,
    /// Who has acquired a shard knows its held keys before it reads fresh rows.
    HoldsAreReadFirst,
    /// Nothing of a key is sent until it is known that what was sent before has arrived.
    AnUnknownOutcomeHoldsTheKey,
}

impl Protocol {
    pub(crate) const fn of(relays: u8, messages: u8, budget: Budget) -> Self {
        Self { relays, messages, budget, without: None }
    }

    pub(crate) fn follows(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Event;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            database: Database::new(self.messages),
            relays: vec![Relay::default(); self.relays.into()],
            publishes: Vec::new(),
            settles: Vec::new(),
            accepted: Vec::new(),
            left: self.budget,
            settled: 0,
            seen: Seen::default(),
        }]
    }

    fn actions(&self, world: &World, events: &mut Vec<Event>) {
        world.what_may_happen(self, events);
    }

    fn next_state(&self, world: &World, event: Event) -> Option<World> {
        let mut world = world.clone();
        world.happens(self, event);
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        promises::all()
    }
}
