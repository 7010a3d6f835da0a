use std::process::ExitCode;

use anyhow::Result;
use outbox::{Config, Setting};

use crate::args::{Common, ConfigCommand};
use crate::output::{Output, table, visible};

pub(crate) fn run(common: &Common, command: &ConfigCommand, output: &mut Output) -> Result<ExitCode> {
    match command {
        ConfigCommand::Show { transport } => {
            let settings = common.config(transport.as_deref())?.settings();
            output.print(&settings, || for_people(&settings))?;
        }
        ConfigCommand::Reference => {
            let reference = Config::reference();
            output.print(&reference, || reference.trim_end())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn for_people(settings: &[Setting]) -> String {
    let mut rows = table(&["key", "value", "from"]);
    for Setting { key, value, origin, .. } in settings {
        rows.add_row([visible(key), visible(&value.to_string()), visible(&origin.to_string())]);
    }
    rows.to_string()
}
