use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use xshell::Shell;

use crate::services;
use crate::workspace::cargo;

#[derive(Args)]
pub(crate) struct Options {
    /// Fewer messages and fewer rounds, for a first impression
    #[arg(long)]
    quick: bool,
    /// Writes the figures to this file as well
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes the page docs/bench, with plots, as well
    #[arg(long)]
    publish: bool,
    /// Measures beside other outboxes and queues instead, on PostgreSQL
    #[arg(long, conflicts_with = "publish")]
    peers: bool,
    /// Further arguments of the benches: see `cargo xtask bench -- --help`, and `--peers -- --help`
    #[arg(last = true)]
    args: Vec<String>,
}

/// Runs the benches, which are a crate of their own: they need the database clients, and xtask must not wait for those.
pub(crate) fn run(sh: &Shell, options: &Options) -> Result<()> {
    for service in services::up()? {
        sh.set_var(service.variable, &service.url);
    }
    // A workspace of its own, with a lock of its own.
    let which: &[&str] = match options.peers {
        true => &["--manifest-path", "benches/peers/Cargo.toml"],
        false => &["--package", "outbox-bench"],
    };
    let mut command = cargo(sh, &["run", "--release"]).args(which).arg("--");
    if options.quick {
        command = command.arg("--quick");
    }
    if options.publish {
        command = command.arg("--page").arg("docs/bench");
    }
    if let Some(file) = &options.json {
        // The benches run in the root of the workspace, wherever this was started.
        command = command.arg("--json").arg(std::path::absolute(file)?);
    }
    Ok(command.args(&options.args).run()?)
}
