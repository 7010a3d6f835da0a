use anyhow::{Result, bail};
use xshell::Shell;

use crate::steps::Steps;
use crate::workspace::{cargo, has_cargo};

/// Licenses, sources, banned and vulnerable crates, by cargo-deny and `deny.toml`.
pub(crate) fn dependencies(sh: &Shell, steps: &mut Steps, no_install: bool) -> Result<()> {
    if !has_cargo(sh, "deny") {
        if no_install {
            bail!("cargo-deny is not installed; `cargo install cargo-deny --locked` does that");
        }
        let install = cargo(sh, &["install", "cargo-deny", "--locked"]);
        steps.run("install cargo-deny", install)?;
    }
    let check = ["deny", "--all-features", "check", "bans", "licenses", "sources"];
    steps.run("licenses and sources", cargo(sh, &check))?;

    // The list of advisories is in a repository that can't be reached from everywhere. Where it is out of reach,
    // nothing is known, and that is what is said; where it is not, a finding fails.
    let fetch = cargo(sh, &["deny", "--all-features", "fetch", "db"]).ignore_stdout().ignore_stderr();
    if steps.step("advisories: fetch", || Ok(fetch.run().is_ok()))? {
        let check = ["deny", "--all-features", "check", "advisories", "--disable-fetch"];
        steps.run("advisories", cargo(sh, &check))
    } else {
        eprintln!("note: the list of advisories could not be fetched, so advisories were NOT checked");
        Ok(())
    }
}
