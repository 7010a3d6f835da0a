use std::time::Duration;

use crate::{Epoch, RelayId, ShardId};

/// A relay's sign of life.
#[derive(Debug, Clone)]
pub struct LeaseRequest {
    /// Who asks.
    pub relay: RelayId,
    /// How long a lease lasts from now, by the database's clock.
    pub ttl: Duration,
    /// What to call the relay in `outbox status`: host and process, for example.
    pub label: String,
}

/// What a relay holds after a sign of life.
#[derive(Debug, Clone)]
pub struct Lease {
    /// How many shards there are in all.
    pub shard_count: u8,
    /// Relays that gave a sign of life within their own ttl, this one included.
    pub live_relays: u32,
    /// The shards this relay owns; their leases now last `ttl` from the time of this call.
    pub owned: Vec<(ShardId, Epoch)>,
}

/// A shard that was just acquired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeasedShard {
    /// Its number.
    pub shard: ShardId,
    /// The new epoch.
    pub epoch: Epoch,
    /// How often in a row an owner vanished instead of releasing it, this time included.
    pub unclean_takeovers: u32,
}
