//! What became of the messages, by the word of nobody who is tested.

pub(crate) mod history;
mod timeline;
mod verdict;

pub(crate) use timeline::Timeline;
pub(crate) use verdict::{Verdict, Violation};
