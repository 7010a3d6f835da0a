#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod events;
mod run;
mod service;
mod story;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use run::Run;
use service::mishaps::Mishaps;
use service::orders::Orders;
use service::{billing, orders, shipping};
use story::{Missing, Story};

/// Orders, billing and shipping: three processes, two brokers, two ORMs, and a proof
#[derive(Debug, Parser)]
#[command(disable_help_subcommand = true)]
struct Args {
    #[command(flatten)]
    run: Run,
    #[command(flatten)]
    story: Story,
    #[command(subcommand)]
    service: Option<Service>,
}

/// What the story starts; each of them as a process of its own.
#[derive(Debug, Subcommand)]
enum Service {
    #[command(hide = true)]
    Orders(Orders),
    #[command(hide = true)]
    Billing(Mishaps),
    #[command(hide = true)]
    Shipping(Mishaps),
}

#[tokio::main]
#[expect(clippy::print_stderr, reason = "who has started it sees why it ends")]
async fn main() -> ExitCode {
    let Args { run, story, service } = Args::parse();
    if service.is_some() {
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    }
    let result = match service {
        None => Box::pin(story::tell(run, story)).await,
        Some(Service::Orders(orders)) => Box::pin(orders::run(&run, &orders)).await,
        Some(Service::Billing(mishaps)) => Box::pin(billing::run(&run, &mishaps)).await,
        Some(Service::Shipping(mishaps)) => Box::pin(shipping::run(&run, &mishaps)).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            // As in sysexits.h.
            ExitCode::from(if error.is::<Missing>() { 69 } else { 1 })
        }
    }
}
