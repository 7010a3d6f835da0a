//! `outbox`: the tables, the relay and the dead letters from a shell.

#![forbid(unsafe_code)]

mod args;

mod config;
mod dead;
mod doctor;
mod export;
mod inbox;
mod migrate;
mod relay;
mod schema;
mod shards;
mod status;

mod failure;
mod output;
mod payload;
mod signals;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::args::{Args, Command};
use crate::output::Output;

/// A message is freed by another thread than the one that has read it. That is what the allocator of glibc is slowest at;
/// `docs/tuning.md` says by how much.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    log_to_stderr();
    let mut output = Output::new(std::io::stdout(), args.common.json);
    let ended = tokio::runtime::Runtime::new()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(run(&args, &mut output)));
    match ended {
        Ok(code) => code,
        // Whoever read this has seen enough: `outbox dead list | head`.
        Err(error) if failure::reader_has_gone(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to tell if this can't be written either.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            failure::exit_code(&error)
        }
    }
}

async fn run(args: &Args, output: &mut Output) -> Result<ExitCode> {
    let common = &args.common;
    match &args.command {
        Command::Migrate => migrate::run(common, output).await,
        Command::Relay(options) => relay::run(common, options, output).await,
        Command::Status(options) => status::run(common, options, output).await,
        Command::Doctor(options) => doctor::run(common, options, output).await,
        Command::Dead(command) => dead::run(common, command, output).await,
        Command::Inbox(command) => inbox::run(common, command, output).await,
        Command::Schema(command) => schema::run(common, command, output).await,
        Command::Shards(command) => shards::run(common, command, output).await,
        Command::Config(command) => config::run(common, command, output),
    }
}

fn log_to_stderr() {
    // Clients of databases and brokers tell every attempt; of them, what is wrong is enough.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,outbox=info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}
