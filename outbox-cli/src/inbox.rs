use std::process::ExitCode;

use anyhow::Result;
use outbox::ConsumerName;
use outbox::relay::purge_inbox;
use serde_json::json;

use crate::args::{Common, InboxCommand};
use crate::output::Output;

pub(crate) async fn run(common: &Common, command: &InboxCommand, output: &mut Output) -> Result<ExitCode> {
    let InboxCommand::Purge { consumer, keep } = command;
    let consumer = ConsumerName::new(consumer.as_str())?;
    let keep = match keep {
        Some(keep) => *keep,
        None => common.config(None)?.inbox.retention,
    };
    let purged = purge_inbox(&*common.migrated_store().await?, &consumer, keep).await?;
    output.print(&json!({ "purged": purged }), || {
        format!("{consumer} forgot {purged} entries older than {}", humantime::format_duration(keep))
    })?;
    Ok(ExitCode::SUCCESS)
}
