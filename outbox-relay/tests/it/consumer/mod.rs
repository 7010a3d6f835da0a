mod copies;
mod crashes;
mod harness;
mod lifecycle;
mod metrics;
mod order;
mod outcomes;
mod refusals;
