use anyhow::Result;
use clap::{Args, ValueEnum};
use xshell::Shell;

use crate::workspace::cargo;

#[derive(Args)]
pub(crate) struct Options {
    /// What to play; the relay and the consumer if nothing is named
    what: Vec<What>,
    /// Worlds of each kind, one for each seed
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    seeds: u64,
    /// The first seed
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    from: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Random worlds of relays
    Relay,
    /// Random worlds of consumers
    Consumer,
    /// Every state of the protocol of leases, without seeds
    Model,
}

impl What {
    /// The folder in `outbox-relay/tests`, and which tests of it.
    const fn tests(self) -> (&'static str, &'static str) {
        match self {
            Self::Relay => ("it", "simulation::whatever_happens_nothing_is_lost_made_up_or_out_of_order"),
            Self::Consumer => ("it", "simulation::whatever_happens_every_effect_happens_once"),
            Self::Model => ("model", ""),
        }
    }
}

/// Plays simulations, optimized and on all cores. They need no services.
pub(crate) fn run(sh: &Shell, options: &Options) -> Result<()> {
    sh.set_var("OUTBOX_SIM_SEED", options.from.to_string());
    sh.set_var("OUTBOX_SIM_WORLDS", options.seeds.to_string());
    sh.set_var("OUTBOX_SIM_THREADS", std::thread::available_parallelism()?.to_string());
    let both = [What::Relay, What::Consumer];
    let what = if options.what.is_empty() { &both[..] } else { &options.what };
    for what in what {
        let (folder, tests) = what.tests();
        let test = ["test", "--quiet", "--profile", "sim", "--package", "outbox-relay", "--test", folder];
        // One after the other: each of them uses all cores.
        let runner = ["--", "--nocapture", "--include-ignored", "--test-threads=1", tests];
        cargo(sh, &test).args(runner).run()?;
    }
    Ok(())
}
