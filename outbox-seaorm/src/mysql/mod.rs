//! MySQL and MariaDB.

mod backend;

pub(crate) use backend::kind;
