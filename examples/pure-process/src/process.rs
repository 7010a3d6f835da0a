use outbox::MessageError;
use outbox::memory::{Process, Step};

use crate::{Book, Offer, Offered, Traded};

/// Somebody wants so many pieces, and pays no more than this for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Bid {
    pub buyer: u32,
    pub limit: u64,
    pub pieces: u32,
}

/// Why nothing happens.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Nothing was asked for.
    #[error("0 pieces can't be traded; ask for 1 or more")]
    NoPieces,
    /// Nobody sells at this price.
    #[error("nobody sells for {limit} or less{}", cheapest.map_or_else(String::new, |price| format!("; the cheapest is {price}")))]
    TooLow {
        /// What the buyer would have paid.
        limit: u64,
        /// What the cheapest piece costs, if there is one.
        cheapest: Option<u64>,
    },
    /// An event is out of its limits.
    #[error(transparent)]
    Message(#[from] MessageError),
}

/// Puts an offer into the book.
pub fn sell(market: &str, offer: Offer) -> impl Process<Book, Output = (), Error = Refused> {
    move |book: &Book| {
        let Offer { seller, price, pieces } = offer;
        if pieces == 0 {
            return Err(Refused::NoPieces);
        }
        let offered = Offered { market: market.to_owned(), seller, price, pieces };
        Ok(Step::new(book.with(offer)).emit(offered)?)
    }
}

/// Takes the cheapest offers, a trade for each, and tells how many pieces were bought.
pub fn buy(market: &str, bid: Bid) -> impl Process<Book, Output = u32, Error = Refused> {
    move |book: &Book| {
        let Bid { buyer, limit, pieces } = bid;
        if pieces == 0 {
            return Err(Refused::NoPieces);
        }
        let (book_after, taken) = book.take(pieces, limit);
        if taken.is_empty() {
            let cheapest = book.offers().first().map(|offer| offer.price);
            return Err(Refused::TooLow { limit, cheapest });
        }
        let bought = taken.iter().map(|offer| offer.pieces).sum();
        let trades = taken.into_iter().map(|Offer { seller, price, pieces }| Traded {
            market: market.to_owned(),
            seller,
            buyer,
            price,
            pieces,
        });
        Ok(Step::new(book_after).emit_all(trades)?.returning(bought))
    }
}
