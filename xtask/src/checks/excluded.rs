use anyhow::Result;
use xshell::Shell;

use crate::steps::Steps;
use crate::workspace::cargo;

/// The workspaces that the main one excludes. They build with what is here, and nobody else would notice if they ceased to.
const EXCLUDED: [&str; 2] = ["fuzz", "benches/peers"];

/// Their lock files fit what they depend on, the crates of this workspace included: one says so in seconds, long before the lints.
pub(crate) fn locked(sh: &Shell, steps: &mut Steps) -> Result<()> {
    for folder in EXCLUDED {
        let manifest = format!("{folder}/Cargo.toml");
        let read = ["metadata", "--locked", "--format-version", "1", "--manifest-path"];
        steps.run(&format!("lock file of {folder}"), cargo(sh, &read).arg(manifest).ignore_stdout())?;
    }
    Ok(())
}

/// They compile without a warning, with the versions that they have locked.
pub(crate) fn excluded(sh: &Shell, steps: &mut Steps) -> Result<()> {
    for folder in EXCLUDED {
        let manifest = format!("{folder}/Cargo.toml");
        // Into the common folder: most of what they depend on is there already.
        let lint = ["clippy", "--locked", "--all-targets", "--target-dir", "target", "--manifest-path"];
        steps.run(
            &format!("lints of {folder}"),
            cargo(sh, &lint).arg(manifest).args(["--", "-D", "warnings"]),
        )?;
    }
    Ok(())
}
