use anyhow::Result;
use clap::Args;
use xshell::Shell;

use crate::steps::Steps;
use crate::workspace::cargo;
use crate::{chaos, checks, services, test};

#[derive(Args)]
pub(crate) struct Options {
    /// Leaves out the tests
    #[arg(long)]
    skip_test: bool,
    /// Says which tool is missing instead of installing it
    #[arg(long)]
    no_install: bool,
}

/// The checks, the cheap ones first.
pub(crate) fn run(sh: &Shell, steps: &mut Steps, options: &Options) -> Result<()> {
    steps.run("format", cargo(sh, &["fmt", "--all", "--check"]))?;
    steps.step("architecture", || checks::architecture(sh))?;
    steps.step("statements", || checks::statements(sh))?;
    steps.step("texts", || checks::texts(sh))?;
    steps.step("links", || checks::links(sh))?;
    steps.step("promises", || checks::promises(sh))?;
    steps.step("headers", services::headers)?;
    checks::locked(sh, steps)?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
    steps.run("lints", cargo(sh, &clippy))?;
    // Only libraries: the binary `outbox` would overwrite the pages of the library `outbox`.
    let doc = cargo(sh, &["doc", "--no-deps", "--workspace", "--lib", "--all-features"]);
    steps.run("documentation", doc.env("RUSTDOCFLAGS", "-Dwarnings"))?;
    checks::features(sh, steps)?;
    checks::excluded(sh, steps)?;
    checks::dependencies(sh, steps, options.no_install)?;
    if !options.skip_test {
        test::run(sh, steps, &[])?;
        chaos::smoke(sh, steps)?;
    }
    Ok(())
}
