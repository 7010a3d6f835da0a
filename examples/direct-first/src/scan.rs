use std::borrow::Cow;

use outbox::{Event, Json};
use serde::{Deserialize, Serialize};

/// A parcel has passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParcelScanned {
    /// The gate it has passed, whose scans have an order; `None` for a scanner in somebody's hand.
    pub gate: Option<String>,
    /// The number of the scan, per gate or hand.
    pub number: u64,
}

impl Event for ParcelScanned {
    const TOPIC: &'static str = "parcels.scanned";
    type Codec = Json;

    fn ordering_key(&self) -> Option<Cow<'_, str>> {
        self.gate.as_deref().map(Cow::from)
    }
}
