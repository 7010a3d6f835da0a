//! One drain in a process of its own, whose memory is therefore its own.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::benches::backlog::{Drain, Drained};
use crate::database::Database;
use crate::database::postgres::PostgresDatabase;
use crate::machine;
use crate::ours::{Order, Ours};
use crate::raw::{self, From};

/// Empties the tables that are there, and tells what it took on the standard output.
pub(crate) async fn run(drain: Drain, messages: u32) -> Result<()> {
    let mut database = PostgresDatabase::existing().await?;
    let started = Instant::now();
    match drain {
        Drain::Relay => {
            let mut ours = Ours::start(database.store()?, Order::Pipelined).await?;
            ours.settled(messages).await?;
            let seconds = started.elapsed().as_secs_f64();
            ours.stop().await?;
            tell(seconds)
        }
        Drain::Bare => {
            let time = raw::drain(database.connection(), messages, From::Cursor).await?;
            tell(time.as_secs_f64())
        }
    }
}

#[expect(clippy::print_stdout, reason = "another process reads it")]
fn tell(seconds: f64) -> Result<()> {
    let mebibytes = machine::peak_memory().context("the most memory of this process is not known here")?;
    println!("{}", serde_json::to_string(&Drained { seconds, mebibytes })?);
    Ok(())
}
