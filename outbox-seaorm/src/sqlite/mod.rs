//! SQLite.

mod backend;
mod version;

pub(crate) use backend::kind;
