//! What is measured, a file each.

pub(crate) mod cold_plan;
pub(crate) mod drain;
pub(crate) mod enqueue;
pub(crate) mod held_snapshot;
pub(crate) mod inbox;
pub(crate) mod publish;
