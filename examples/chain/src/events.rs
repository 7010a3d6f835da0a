//! What the services tell each other. All events of an order have its number as their key, so that what one service says
//! about it arrives in its order.

use std::borrow::Cow;

use outbox::{Event, Json};
use serde::{Deserialize, Serialize};

/// By orders, for billing.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OrderPlaced {
    pub(crate) order: i64,
    pub(crate) customer: String,
    pub(crate) total: i64,
}

impl Event for OrderPlaced {
    const TOPIC: &'static str = "orders.placed";
    const TYPE: Option<&'static str> = Some("OrderPlaced");
    type Codec = Json;

    fn ordering_key(&self) -> Option<Cow<'_, str>> {
        Some(self.order.to_string().into())
    }
}

/// By billing, for shipping and orders.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OrderBilled {
    pub(crate) order: i64,
    pub(crate) total: i64,
}

impl Event for OrderBilled {
    const TOPIC: &'static str = "orders.billed";
    const TYPE: Option<&'static str> = Some("OrderBilled");
    type Codec = Json;

    fn ordering_key(&self) -> Option<Cow<'_, str>> {
        Some(self.order.to_string().into())
    }
}

/// By shipping, for orders.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OrderShipped {
    pub(crate) order: i64,
}

impl Event for OrderShipped {
    const TOPIC: &'static str = "orders.shipped";
    const TYPE: Option<&'static str> = Some("OrderShipped");
    type Codec = Json;

    fn ordering_key(&self) -> Option<Cow<'_, str>> {
        Some(self.order.to_string().into())
    }
}
