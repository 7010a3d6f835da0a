use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use outbox::{OutboxMessage, PublishError, Transport, TransportCapabilities};

/// A transport that panics before there is a future, as a hand-written one may: that ends its relay.
pub(crate) struct Defective;

#[async_trait]
impl Transport for Defective {
    fn capabilities(&self) -> TransportCapabilities {
        TransportCapabilities::new("defective")
    }

    fn publish<'a, 'b, 'c>(
        &'a self,
        _: &'b [OutboxMessage],
    ) -> Pin<Box<dyn Future<Output = Vec<Result<(), PublishError>>> + Send + 'c>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        panic!("a defect")
    }

    async fn check(&self) -> Result<(), PublishError> {
        Ok(())
    }

    async fn close(&self, _: Duration) -> Result<(), PublishError> {
        Ok(())
    }
}
