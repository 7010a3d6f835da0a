use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, MetadataCommand};
use xshell::{Cmd, Shell};

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// A shell in the folder of the workspace.
pub(crate) fn shell() -> Result<Shell> {
    let sh = Shell::new()?;
    sh.change_dir(root());
    Ok(sh)
}

/// A cargo command.
///
/// `cargo run` describes this crate to it in the environment. Handed on, that would look like a change to build
/// scripts which watch these variables, and half of the workspace would be built twice.
pub(crate) fn cargo<'a>(sh: &'a Shell, args: &[&str]) -> Cmd<'a> {
    let inherited = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];
    std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| inherited.iter().any(|prefix| name.starts_with(prefix)))
        .fold(sh.cmd("cargo").args(args), |command, name| command.env_remove(name))
}

/// Whether `cargo <subcommand>` is installed.
pub(crate) fn has_cargo(sh: &Shell, subcommand: &str) -> bool {
    let probe = cargo(sh, &[subcommand, "--version"]);
    probe.quiet().ignore_stdout().ignore_stderr().run().is_ok()
}

/// The members of the workspace and what they ask for, without their dependencies.
pub(crate) fn metadata() -> Result<Metadata> {
    MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().context("cargo metadata")
}

/// Every text file of the project: what git tracks or would add, with its path relative to the root.
pub(crate) fn text_files(sh: &Shell) -> Result<Vec<(PathBuf, String)>> {
    let list = sh.cmd("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let list = list.quiet().read().context("the list of files comes from git")?;
    let root = root();
    // A file that is deleted but not yet staged is listed too; one that is not text is not for reading.
    let read = |name: &str| Some((PathBuf::from(name), std::fs::read_to_string(root.join(name)).ok()?));
    Ok(list.lines().filter_map(read).collect())
}
