//! A subscription that delivers what a test says, and remembers how each delivery was settled.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{
    Delivery, DeliverySource, OutboxMessage, Receipt, SubscribeError, Subscription, SubscriptionCapabilities,
};
use tokio::sync::mpsc;

use super::harness::TOPIC;

/// The broker's side.
pub(super) struct Script {
    deliveries: mpsc::UnboundedSender<Delivery>,
    settled: Arc<Mutex<Vec<(&'static str, &'static str)>>>,
}

pub(super) struct Scripted(mpsc::UnboundedReceiver<Delivery>);

impl Script {
    pub(super) fn new() -> (Self, Scripted) {
        let (deliveries, received) = mpsc::unbounded_channel();
        (Self { deliveries, settled: Arc::default() }, Scripted(received))
    }

    /// Delivers it for the nth time, by a connection of this name.
    pub(super) fn counted(&self, message: &OutboxMessage, attempt: u32, name: &'static str) {
        let delivery = Delivery::new(Ok(message.clone()), Some(attempt), self.receipt(name));
        self.deliveries.send(delivery).unwrap();
    }

    /// Delivers it from a log, with this assignment, whose name this is.
    pub(super) fn assigned(&self, message: &OutboxMessage, assignment: u64, name: &'static str) {
        let source = DeliverySource { topic: TOPIC.into(), partition: 0, assignment };
        let delivery = Delivery::new(Ok(message.clone()), None, self.receipt(name)).from_source(source);
        self.deliveries.send(delivery).unwrap();
    }

    /// What was settled, and how.
    pub(super) fn settled(&self) -> Vec<(&'static str, &'static str)> {
        self.settled.lock().unwrap().clone()
    }

    fn receipt(&self, name: &'static str) -> Box<dyn Receipt> {
        Box::new(ScriptedReceipt { name, settled: Arc::clone(&self.settled) })
    }
}

#[async_trait]
impl Subscription for Scripted {
    fn capabilities(&self) -> SubscriptionCapabilities {
        SubscriptionCapabilities::new("scripted")
    }

    async fn next(&mut self) -> Result<Delivery, SubscribeError> {
        match self.0.recv().await {
            Some(delivery) => Ok(delivery),
            None => std::future::pending().await,
        }
    }

    async fn check(&mut self) -> Result<(), SubscribeError> {
        Ok(())
    }

    async fn close(&mut self, _: Duration) -> Result<(), SubscribeError> {
        Ok(())
    }
}

struct ScriptedReceipt {
    name: &'static str,
    settled: Arc<Mutex<Vec<(&'static str, &'static str)>>>,
}

impl ScriptedReceipt {
    fn settle(&self, how: &'static str) -> Result<(), SubscribeError> {
        self.settled.lock().unwrap().push((self.name, how));
        Ok(())
    }
}

#[async_trait]
impl Receipt for ScriptedReceipt {
    async fn ack(self: Box<Self>) -> Result<(), SubscribeError> {
        self.settle("acknowledged")
    }

    async fn nack(self: Box<Self>, _: Duration) -> Result<(), SubscribeError> {
        self.settle("handed back")
    }

    async fn dead_letter(self: Box<Self>, _: &str) -> Result<(), SubscribeError> {
        self.settle("buried")
    }
}
