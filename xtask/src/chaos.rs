use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;
use xshell::{Shell, cmd};

use crate::steps::Steps;
use crate::workspace::{cargo, root};

/// Set for the compiler of the members of the workspace, which is this program then: see [`compile`].
const WRAPS: &str = "OUTBOX_XTASK_COMPILES";

#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    /// See `cargo xtask chaos --help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Builds the harness and the binary that it tests, and starts it. It starts servers of its own and uses no others.
pub(crate) fn run(sh: &Shell, options: &Options) -> Result<()> {
    let sabotages = options.args.iter().any(|arg| arg.starts_with("--sabotage"));
    let folder = if sabotages { build_with_defects(sh)? } else { build(sh, &[], &[])? };
    Ok(cmd!(sh, "{folder}/outbox-chaos").args(&options.args).run()?)
}

/// A few short runs, for CI.
pub(crate) fn smoke(sh: &Shell, steps: &mut Steps) -> Result<()> {
    // With the features of the tests, so that little has to be built for it.
    let folder = steps.step("chaos (build)", || build(sh, &["--all-features"], &[]))?;
    steps.run("chaos (smoke)", cmd!(sh, "{folder}/outbox-chaos --smoke"))
}

fn build(sh: &Shell, more: &[&str], environment: &[(&str, &str)]) -> Result<PathBuf> {
    let words = ["build", "--package", "outbox-chaos", "--package", "outbox-cli", "--bins"];
    let mut command = cargo(sh, &words).args(more);
    for (name, value) in environment {
        command = command.env(name, value);
    }
    command.run()?;
    Ok(target().join("debug"))
}

/// With all defects built in. Everything but the members of this workspace is the same as in every other build, and is not
/// built again: the flag goes to their compiler alone.
fn build_with_defects(sh: &Shell) -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let here = here.to_str().context("the path of this program is not UTF-8")?;
    let built = build(sh, &[], &[("RUSTC_WORKSPACE_WRAPPER", here), (WRAPS, "1")])?;
    // Out of the way of the next build, which has other programs of the same names.
    let folder = target().join("sabotage");
    std::fs::create_dir_all(&folder)?;
    for program in ["outbox", "outbox-chaos"] {
        let copy = folder.join(program);
        // Not over a file that may be running.
        let _ = std::fs::remove_file(&copy);
        std::fs::copy(built.join(program), copy)?;
        std::fs::remove_file(built.join(program))?;
    }
    Ok(folder)
}

fn target() -> PathBuf {
    let named = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    root().join(named.unwrap_or_else(|| "target".into()))
}

/// Compiles as cargo says, with the defects, if this program was started as a compiler.
pub(crate) fn compile() -> Option<Result<()>> {
    std::env::var_os(WRAPS)?;
    let mut words = std::env::args_os().skip(1);
    let compiler = words.next()?;
    // Cargo starts a compiler by its path, and tasks by their names.
    if !Path::new(&compiler).file_name()?.to_string_lossy().starts_with("rustc") {
        return None;
    }
    let compiled = Command::new(&compiler).args(words).args(["--cfg", "outbox_sabotage"]).status();
    Some(compiled.context("the compiler").and_then(|status| {
        ensure!(status.success(), "{status}");
        Ok(())
    }))
}
