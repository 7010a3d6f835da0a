//! SQLite.

mod backend;
pub(crate) mod file;
pub(crate) mod version;
