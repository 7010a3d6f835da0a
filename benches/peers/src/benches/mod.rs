pub(crate) mod drain;
pub(crate) mod latency;
mod measure;
pub(crate) mod slow_broker;
