use anyhow::Result;
use clap::Args;
use xshell::Shell;

use crate::services;
use crate::workspace::cargo;

#[derive(Args)]
pub(crate) struct Options {
    /// How long it is watched
    #[arg(long, value_name = "N", default_value_t = 600)]
    seconds: u32,
}

/// Watches a relay that has nothing to do: a test, for longer than a test may take.
pub(crate) fn run(sh: &Shell, options: &Options) -> Result<()> {
    for service in services::up()? {
        sh.set_var(service.variable, &service.url);
    }
    sh.set_var("OUTBOX_REQUIRE_SERVICES", "1");
    sh.set_var("OUTBOX_TEST_IDLE_SECONDS", options.seconds.to_string());
    let test = ["test", "--package", "outbox-cli", "--test", "processes", "idle::", "--", "--nocapture"];
    Ok(cargo(sh, &test).run()?)
}
