//! The same functions as a service: an engine commits what they return, and a relay delivers it.
//!
//! ```text
//! cargo run -p pure-process
//! ```

#![forbid(unsafe_code)]

use std::io::Write;

use anyhow::Result;
use outbox::memory::{Engine, MemoryTransport};
use outbox::relay::Relay;
use pure_process::{Bid, Book, Offer, buy, sell};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let engine: Engine<String, Book> = Engine::new();
    // In production: `outbox::connect_transport("nats://…")`.
    let broker = MemoryTransport::new();
    let relay = Relay::new(engine.outbox(), broker.clone()).wakeup(engine.outbox().wakeup()).start().await?;

    engine.run("tea", sell("tea", Offer { seller: 1, price: 300, pieces: 5 })).await?;
    engine.run("tea", sell("tea", Offer { seller: 2, price: 280, pieces: 2 })).await?;
    let bought = engine.run("tea", buy("tea", Bid { buyer: 7, limit: 300, pieces: 4 })).await?.output;
    let refused = engine.run("tea", buy("tea", Bid { buyer: 8, limit: 100, pieces: 1 })).await;

    relay.drained().await?;
    relay.shutdown().await?;
    let mut out = std::io::stdout().lock();
    for message in broker.delivered() {
        writeln!(out, "{:<16}{}", message.topic().as_str(), String::from_utf8_lossy(message.payload()))?;
    }
    writeln!(out, "bought {bought}, left {:?}", engine.state("tea").offers())?;
    if let Err(refused) = refused {
        writeln!(out, "refused: {refused}")?;
    }
    Ok(())
}
