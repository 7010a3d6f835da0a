mod builder;
mod error;
mod handle;
mod hints;
mod state;
mod waker;

mod attend;
mod served;
mod shared;

pub use builder::OutboxBuilder;
pub use error::StartError;
pub use handle::OutboxHandle;
pub use state::RelayState;
pub use waker::OutboxWaker;

use crate::Config;

impl Config {
    /// The outbox of an application, as this configuration says: [`Config::outbox`] with nothing else to say.
    ///
    /// # Errors
    ///
    /// As [`OutboxBuilder::start`].
    ///
    /// # Cancel safety
    ///
    /// As [`OutboxBuilder::start`].
    pub async fn start(&self) -> Result<OutboxHandle, StartError> {
        self.outbox().start().await
    }

    /// The outbox of an application, for those who bring something along that a configuration can't say: a store on
    /// their own pool, a transport of their own, another way of serving metrics.
    pub fn outbox(&self) -> OutboxBuilder {
        OutboxBuilder::new(self.clone())
    }
}
