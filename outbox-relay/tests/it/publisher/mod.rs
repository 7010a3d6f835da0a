//! Messages without a transaction, in each mode, against a scripted broker.

mod desk;

mod batches;
mod handovers;
mod modes;
mod outages;
mod outcomes;
