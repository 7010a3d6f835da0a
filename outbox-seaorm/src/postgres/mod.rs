//! PostgreSQL.

mod backend;
mod pooler;
mod query;

pub(crate) use backend::kind;
pub(crate) use pooler::detect;
pub(crate) use query::query;
