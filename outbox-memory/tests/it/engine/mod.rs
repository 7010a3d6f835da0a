//! States in memory: what is committed, what is not, and who delivers it.

mod attempts;
mod commits;
mod pure;
mod relay;
mod store;
mod storm;
mod work;
