use std::fmt;

use diesel::ConnectionResult;
use futures_util::future::BoxFuture;

/// Opens connections to one database.
pub struct Connector<C> {
    /// What errors call the database: without user and password.
    address: String,
    open: Box<dyn Fn() -> BoxFuture<'static, ConnectionResult<C>> + Send + Sync>,
}

impl<C> Connector<C> {
    pub(super) fn new(
        address: String,
        open: impl Fn() -> BoxFuture<'static, ConnectionResult<C>> + Send + Sync + 'static,
    ) -> Self {
        Self { address, open: Box::new(open) }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn open(&self) -> BoxFuture<'static, ConnectionResult<C>> {
        (self.open)()
    }
}

impl<C> fmt::Debug for Connector<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("address", &self.address).finish_non_exhaustive()
    }
}
