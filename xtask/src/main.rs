//! The tasks of this workspace; `cargo xtask help` lists them.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it talks to the person who started it")]

mod bench;
mod chaos;
mod checks;
mod ci;
mod idle;
mod services;
mod sim;
mod steps;
mod test;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks of this workspace", disable_help_subcommand = false)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// The databases and brokers that the tests talk to
    #[command(subcommand)]
    Services(ServicesTask),
    /// Starts the services; runs all tests, doc tests and examples
    Test {
        /// For the test runner; given any, only tests are run, no doc tests and no examples
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Everything a change has to pass: format, lints, docs, features, licenses, architecture, tests
    Ci(ci::Options),
    /// Who writes, who relays: every ORM with every other, on each database; prints the table
    Matrix,
    /// Kills, stops and cuts off real relays, brokers and databases, and compares what there is in the end
    Chaos(chaos::Options),
    /// Random worlds of relays and consumers, and every state of the protocol of leases; needs no services
    Sim(sim::Options),
    /// What a relay costs that has nothing to do: statements a second, and memory
    Idle(idle::Options),
    /// Measures in release mode, beside the best bare loop on the same database
    Bench(bench::Options),
}

#[derive(Subcommand)]
enum ServicesTask {
    /// Uses what answers at the usual ports and starts the rest; prints the variables for a shell
    ///
    /// `eval "$(cargo xtask services up)"` exports them. `OUTBOX_TEST_<NAME>_URL` names a server of your own;
    /// OUTBOX_SERVICES=private starts private ones in any case.
    Up,
    /// Stops what `up` started, and deletes its data
    Down,
    /// What would be used
    Status,
}

fn main() -> ExitCode {
    match chaos::compile().unwrap_or_else(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The causes without a backtrace: what failed is a command or a check, not this program.
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let sh = workspace::shell()?;
    match Cli::parse().task {
        Task::Services(ServicesTask::Up) => {
            for service in services::up()? {
                println!("export {}='{}'", service.variable, service.url);
            }
            Ok(())
        }
        Task::Services(ServicesTask::Down) => services::down(),
        Task::Services(ServicesTask::Status) => services::status(),
        Task::Test { args } => steps::steps(|steps| test::run(&sh, steps, &args)),
        Task::Ci(options) => steps::steps(|steps| ci::run(&sh, steps, &options)),
        Task::Matrix => steps::steps(|steps| test::matrix(&sh, steps)),
        Task::Chaos(options) => chaos::run(&sh, &options),
        Task::Sim(options) => sim::run(&sh, &options),
        Task::Idle(options) => idle::run(&sh, &options),
        Task::Bench(options) => bench::run(&sh, &options),
    }
}
