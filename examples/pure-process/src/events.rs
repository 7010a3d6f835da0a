use std::borrow::Cow;

use outbox::{Event, Json};
use serde::Serialize;

/// Somebody sells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Offered {
    pub market: String,
    pub seller: u32,
    pub price: u64,
    pub pieces: u32,
}

impl Event for Offered {
    const TOPIC: &'static str = "market.offered";
    type Codec = Json;

    fn ordering_key(&self) -> Option<Cow<'_, str>> {
        Some(self.market.as_str().into())
    }
}

/// Pieces went from a seller to a buyer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Traded {
    pub market: String,
    pub seller: u32,
    pub buyer: u32,
    pub price: u64,
    pub pieces: u32,
}

impl Event for Traded {
    const TOPIC: &'static str = "market.traded";
    type Codec = Json;

    fn ordering_key(&self) -> Option<Cow<'_, str>> {
        Some(self.market.as_str().into())
    }
}
