mod crashes;
mod harness;
mod lifecycle;
mod order;
mod outcomes;
mod refusals;
