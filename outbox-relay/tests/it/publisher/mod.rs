//! Messages without a transaction, in each mode, against a scripted broker.

pub(crate) mod desk;

mod batches;
mod figures;
mod handovers;
mod modes;
mod outages;
mod outcomes;
