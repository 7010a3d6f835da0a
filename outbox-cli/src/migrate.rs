use std::process::ExitCode;

use anyhow::Result;

use crate::args::Common;
use crate::output::Output;

pub(crate) async fn run(common: &Common, output: &mut Output) -> Result<ExitCode> {
    let applied = common.store().await?.migrate().await?;
    output.print(&applied, || {
        if applied.is_empty() {
            return "nothing to do: the tables are of this version".to_owned();
        }
        let lines =
            applied.iter().map(|migration| format!("applied {} {}", migration.version, migration.name));
        lines.collect::<Vec<_>>().join("\n")
    })?;
    Ok(ExitCode::SUCCESS)
}
