use std::process::ExitCode;

use anyhow::Result;
use serde_json::json;

use crate::args::{Common, ShardsCommand};
use crate::output::Output;

pub(crate) async fn run(common: &Common, command: &ShardsCommand, output: &mut Output) -> Result<ExitCode> {
    let ShardsCommand::Set { count } = *command;
    common.migrated_store().await?.set_shard_count(count).await?;
    output.print(&json!({ "shards": count }), || format!("the outbox has {count} shards now"))?;
    Ok(ExitCode::SUCCESS)
}
