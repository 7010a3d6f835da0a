use stateright::Property;

use crate::database::Row;
use crate::protocol::Protocol;
use crate::world::World;

pub(crate) const NOTHING_IS_LOST: &str = "nothing is lost";
pub(crate) const FIRST_DELIVERIES_ARE_IN_ORDER: &str = "the first deliveries of a key are in order";
pub(crate) const STALE_SETTLES_ARE_REFUSED: &str = "a stale settle changes nothing";
pub(crate) const ONE_OWNER_SETTLES: &str = "what a successor has begun to settle, no former owner settles";
pub(crate) const ONE_RELAY_TRUSTS_ITS_LEASE: &str = "at most one relay trusts its lease";
pub(crate) const EVERYTHING_IS_DELIVERED: &str = "everything is delivered in the end";

pub(crate) fn all() -> Vec<Property<Protocol>> {
    vec![
        Property::always(NOTHING_IS_LOST, |_, world: &World| {
            (0..)
                .zip(&world.database.rows)
                .all(|(message, row)| *row != Row::Gone || world.accepted.contains(&message))
        }),
        Property::always(FIRST_DELIVERIES_ARE_IN_ORDER, |_, world: &World| world.accepted.is_sorted()),
        Property::always(STALE_SETTLES_ARE_REFUSED, |_, world: &World| !world.seen.stale_settle_applied),
        Property::always(ONE_OWNER_SETTLES, |_, world: &World| !world.seen.settled_by_former_owner),
        Property::always(ONE_RELAY_TRUSTS_ITS_LEASE, |_, world: &World| {
            world.relays.iter().filter(|relay| relay.works()).count() <= 1
        }),
        Property::eventually(EVERYTHING_IS_DELIVERED, |_, world: &World| {
            world.is_over() && world.database.rows.len() == world.accepted.len()
        }),
        // Else nothing of all this would be put to the test.
        Property::sometimes("a stale settle comes and is refused", |_, world: &World| {
            world.seen.stale_settle_refused
        }),
        Property::sometimes("a publish arrives after a take-over", |_, world: &World| {
            world.seen.late_publish
        }),
        Property::sometimes("a message arrives twice", |_, world: &World| world.seen.second_delivery),
        Property::sometimes("a key is held while its shard changes hands", |_, world: &World| {
            world.database.epoch > 1 && world.database.of(Row::Retrying).next().is_some()
        }),
    ]
}
