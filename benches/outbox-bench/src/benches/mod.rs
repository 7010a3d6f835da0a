//! What is measured, a file each.

pub(crate) mod backlog;
pub(crate) mod cold_plan;
pub(crate) mod drain;
pub(crate) mod end_to_end;
pub(crate) mod enqueue;
pub(crate) mod held_snapshot;
pub(crate) mod inbox;
pub(crate) mod latency;
pub(crate) mod publish;
pub(crate) mod scale;
pub(crate) mod slow_broker;
