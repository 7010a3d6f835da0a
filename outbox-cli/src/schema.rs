use std::process::ExitCode;

use anyhow::Result;
use outbox::sql::Migrations;
use serde_json::json;

use crate::args::{Common, SchemaCommand};
use crate::export;
use crate::output::{Output, table};

pub(crate) async fn run(common: &Common, command: &SchemaCommand, output: &mut Output) -> Result<ExitCode> {
    match command {
        SchemaCommand::Print { dialect } => {
            let names = common.config(None)?.table_names()?;
            let scripts = Migrations::rendered((*dialect).into(), &names);
            let all: Vec<_> = scripts
                .iter()
                .map(|script| json!({ "version": script.version, "name": script.name, "sql": script.sql }))
                .collect();
            output.print(&all, || {
                let texts = scripts.iter().map(|script| {
                    format!("-- Migration {}: {}.\n{}", script.version, script.name, script.sql)
                });
                texts.collect::<Vec<_>>().join("\n")
            })?;
            Ok(ExitCode::SUCCESS)
        }
        SchemaCommand::Export { tool, dialect, folder } => {
            let names = common.config(None)?.table_names()?;
            let scripts = Migrations::rendered((*dialect).into(), &names);
            let files: Vec<_> = scripts.iter().flat_map(|script| export::files(*tool, script)).collect();
            let written = export::write(folder, &files)?;
            output.print(&written, || {
                if written.is_empty() {
                    return "nothing to do: the files are there".to_owned();
                }
                written.iter().map(|path| format!("wrote {path}")).collect::<Vec<_>>().join("\n")
            })?;
            Ok(ExitCode::SUCCESS)
        }
        SchemaCommand::Check => {
            let drifts = common.store().await?.schema_check().await?;
            output.print(&drifts, || {
                if drifts.is_empty() {
                    return "the tables are as the migrations made them".to_owned();
                }
                let mut found = table(&["object", "problem"]);
                for drift in &drifts {
                    found.add_row([&drift.object, &drift.problem]);
                }
                found.to_string()
            })?;
            Ok(if drifts.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}
