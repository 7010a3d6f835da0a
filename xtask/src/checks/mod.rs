mod architecture;
mod dependencies;
mod excluded;
mod features;
mod links;
mod promises;
mod statements;
mod texts;

use anyhow::{Result, bail};

pub(crate) use architecture::architecture;
pub(crate) use dependencies::dependencies;
pub(crate) use excluded::{excluded, locked};
pub(crate) use features::features;
pub(crate) use links::links;
pub(crate) use promises::promises;
pub(crate) use statements::statements;
pub(crate) use texts::texts;

/// Fails with all findings at once: nobody likes to mend one to be told the next.
fn none_of(findings: &[String]) -> Result<()> {
    if findings.is_empty() {
        return Ok(());
    }
    bail!("{}", findings.join("\n"))
}
