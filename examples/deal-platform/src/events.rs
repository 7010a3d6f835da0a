use std::borrow::Cow;

use outbox::{Event, Json};
use serde::{Deserialize, Serialize};

/// A deal was closed. Those of one customer arrive in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DealClosed {
    /// The row of the deal.
    pub deal: i64,
    /// Who has closed it.
    pub customer: String,
    /// The amount in cents.
    pub amount: i64,
}

impl Event for DealClosed {
    const TOPIC: &'static str = "deals.closed";
    type Codec = Json;

    fn ordering_key(&self) -> Option<Cow<'_, str>> {
        Some(self.customer.as_str().into())
    }
}

/// The price of something has moved. It belongs to no row of the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuoteMoved {
    /// Of what.
    pub symbol: String,
    /// The price in cents.
    pub price: i64,
}

impl Event for QuoteMoved {
    const TOPIC: &'static str = "quotes.moved";
    type Codec = Json;

    fn ordering_key(&self) -> Option<Cow<'_, str>> {
        Some(self.symbol.as_str().into())
    }
}
