//! Consumers, an inbox in a database, and a broker.

mod broker;
mod found;
mod handling;
mod inbox;
mod ledger;
mod plan;
mod stage;

use super::journal::Journal;
use super::script::{Script, World};
pub(super) use found::found;
use plan::{Event, Setup};

/// Consumers of one group.
pub(super) struct ConsumerWorld;

impl World for ConsumerWorld {
    const NAME: &'static str = "consumer";
    type Setup = Setup;
    type Event = Event;

    fn imagine(random: &mut fastrand::Rng) -> Script<Setup, Event> {
        plan::imagine(random)
    }

    async fn play(script: &Script<Setup, Event>, journal: &Journal) -> Result<u64, String> {
        stage::play(script, journal).await
    }
}
