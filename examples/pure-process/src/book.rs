/// The offers of one market, the cheapest first, and at the same price the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Book {
    offers: Vec<Offer>,
}

/// So many pieces for so much each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// Whose it is.
    pub seller: u32,
    /// For one piece, in cents.
    pub price: u64,
    /// Pieces.
    pub pieces: u32,
}

impl Book {
    /// The offers, in the order in which they are taken.
    #[must_use]
    pub fn offers(&self) -> &[Offer] {
        &self.offers
    }

    pub(crate) fn with(&self, offer: Offer) -> Self {
        let mut offers = self.offers.clone();
        let place = offers.partition_point(|other| other.price <= offer.price);
        offers.insert(place, offer);
        Self { offers }
    }

    /// Takes so many pieces, none dearer than the limit: what is left, and what was taken of whom.
    pub(crate) fn take(&self, mut pieces: u32, limit: u64) -> (Self, Vec<Offer>) {
        let (mut offers, mut taken) = (Vec::new(), Vec::new());
        for offer in &self.offers {
            let now = if offer.price <= limit { offer.pieces.min(pieces) } else { 0 };
            pieces -= now;
            if now > 0 {
                taken.push(Offer { pieces: now, ..*offer });
            }
            if now < offer.pieces {
                offers.push(Offer { pieces: offer.pieces - now, ..*offer });
            }
        }
        (Self { offers }, taken)
    }
}
