//! The test of a process calls it and looks at what it returns. There is nothing to mock.

#![allow(clippy::unwrap_used, reason = "a test states what it expects")]

use outbox::OutboxMessage;
use outbox::memory::{Engine, MemoryTransport, Process, Step};
use outbox::relay::Relay;
use pure_process::{Bid, Book, Offer, Offered, Refused, Traded, buy, sell};

fn offer(seller: u32, price: u64, pieces: u32) -> Offer {
    Offer { seller, price, pieces }
}

fn bid(limit: u64, pieces: u32) -> Bid {
    Bid { buyer: 7, limit, pieces }
}

fn traded(seller: u32, price: u64, pieces: u32) -> Traded {
    Traded { market: "tea".to_owned(), seller, buyer: 7, price, pieces }
}

/// A book with these offers: a state is made by the functions under test, from nothing.
fn book(offers: &[Offer]) -> Book {
    offers.iter().fold(Book::default(), |book, offer| sell("tea", *offer).decide(&book).unwrap().state)
}

#[test]
fn scenario_a_purchase_returns_a_trade_for_each_offer_that_it_takes() {
    let before = book(&[offer(1, 300, 5), offer(2, 280, 2), offer(3, 300, 1), offer(4, 900, 1)]);
    let step: Step<Book, u32> = buy("tea", bid(300, 4)).decide(&before).unwrap();

    assert_eq!(step.emitted::<Traded>(), [&traded(2, 280, 2), &traded(1, 300, 2)], "the cheapest first");
    assert_eq!(step.messages().len(), 2, "and nothing else");
    assert_eq!(step.state.offers(), [offer(1, 300, 3), offer(3, 300, 1), offer(4, 900, 1)]);
    assert_eq!(step.output, 4);
    assert_eq!(before.offers()[0], offer(2, 280, 2), "what was given is not touched");
}

#[test]
fn scenario_the_limit_ends_a_purchase_and_the_rest_stays() {
    let step = buy("tea", bid(299, 9)).decide(&book(&[offer(1, 280, 2), offer(2, 300, 2)])).unwrap();
    assert_eq!(step.emitted::<Traded>(), [&traded(1, 280, 2)]);
    assert_eq!((step.state.offers(), step.output), (&[offer(2, 300, 2)][..], 2));
}

#[test]
fn scenario_a_message_is_what_a_consumer_will_read() {
    let mut step = sell("tea", offer(1, 300, 5)).decide(&Book::default()).unwrap();
    let expected = Offered { market: "tea".to_owned(), seller: 1, price: 300, pieces: 5 };
    assert_eq!(step.emitted::<Offered>(), [&expected]);
    let [message] = &step.drain()[..] else { panic!("one message") };
    assert_eq!(message.topic().as_str(), "market.offered");
    assert_eq!(message.ordering_key().unwrap().as_str(), "tea");
    assert_eq!(message.payload().as_ref(), br#"{"market":"tea","seller":1,"price":300,"pieces":5}"#);
}

#[test]
fn scenario_a_refusal_says_why_and_returns_nothing() {
    let refused = |offers: &[Offer], bid| buy("tea", bid).decide(&book(offers)).unwrap_err();
    let dear = [offer(1, 300, 5)];
    assert!(matches!(refused(&dear, bid(100, 1)), Refused::TooLow { limit: 100, cheapest: Some(300) }));
    assert_eq!(refused(&dear, bid(100, 1)).to_string(), "nobody sells for 100 or less; the cheapest is 300");
    assert_eq!(refused(&[], bid(100, 1)).to_string(), "nobody sells for 100 or less");
    assert!(matches!(refused(&dear, bid(300, 0)), Refused::NoPieces));
    assert!(matches!(sell("tea", offer(1, 1, 0)).decide(&Book::default()), Err(Refused::NoPieces)));
}

/// What the tests above have looked at is what the service does: the engine adds nothing and leaves nothing out.
#[tokio::test(start_paused = true)]
async fn scenario_what_is_returned_is_what_is_delivered() {
    let engine: Engine<String, Book> = Engine::new();
    let broker = MemoryTransport::new();
    let relay =
        Relay::new(engine.outbox(), broker.clone()).wakeup(engine.outbox().wakeup()).start().await.unwrap();

    let mut returned = Vec::new();
    let mut state = Book::default();
    for offer in [offer(1, 300, 5), offer(2, 280, 2)] {
        let mut step = sell("tea", offer).decide(&state).unwrap();
        returned.extend(step.drain());
        state = step.state;
        engine.run("tea", sell("tea", offer)).await.unwrap();
    }
    let mut step = buy("tea", bid(300, 4)).decide(&state).unwrap();
    returned.extend(step.drain());
    assert_eq!(engine.run("tea", buy("tea", bid(300, 4))).await.unwrap().output, 4);
    engine.run("tea", buy("tea", bid(100, 1))).await.unwrap_err();
    relay.drained().await.unwrap();
    relay.shutdown().await.unwrap();

    assert_eq!(contents(&broker.delivered()), contents(&returned));
    assert_eq!((returned.len(), engine.state("tea").version()), (4, 3), "a refusal commits nothing");
    assert_eq!(*engine.state("tea"), step.state);
}

/// Everything but the id, which is new each time.
fn contents(messages: &[OutboxMessage]) -> Vec<(String, String)> {
    let content = |message: &OutboxMessage| {
        (message.topic().as_str().to_owned(), String::from_utf8(message.payload().to_vec()).unwrap())
    };
    messages.iter().map(content).collect()
}
