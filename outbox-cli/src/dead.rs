use std::process::ExitCode;

use anyhow::{Result, bail};
use outbox::{DeadLetter, DeadLetterQuery, MessageId, OperatorAction};
use serde_json::{Map, Value, json};

use crate::args::{Common, DeadCommand};
use crate::output::{Output, or_dash, table, time, visible};
use crate::payload::Payload;

/// Characters of a payload that fit a screen.
const SHOWN: usize = 2_000;

pub(crate) async fn run(common: &Common, command: &DeadCommand, output: &mut Output) -> Result<ExitCode> {
    match command {
        DeadCommand::List { topic, limit } => list(common, topic.clone(), *limit, output).await,
        DeadCommand::Show { id, full } => show(common, *id, *full, output).await,
        DeadCommand::Replay { ids } => request(common, ids, OperatorAction::Replay, output).await,
        DeadCommand::Discard { ids } => request(common, ids, OperatorAction::Discard, output).await,
    }
}

async fn list(common: &Common, topic: Option<String>, limit: usize, output: &mut Output) -> Result<ExitCode> {
    let query = DeadLetterQuery { id: None, topic, limit };
    let letters = common.migrated_store().await?.dead_letters(&query).await?;
    let all: Vec<_> = letters.iter().map(|letter| Value::Object(as_json(letter))).collect();
    output.print(&all, || {
        if letters.is_empty() {
            return "no dead letters".to_owned();
        }
        let mut listed = table(&["id", "topic", "key", "reason", "tries", "died at", "asked for"]);
        for letter in &letters {
            listed.add_row([
                letter.message.id().to_string(),
                visible(letter.message.topic().as_str()),
                or_dash(letter.message.ordering_key()),
                letter.reason.clone(),
                letter.attempts.to_string(),
                time(letter.died_at),
                or_dash(letter.requested.map(OperatorAction::as_str)),
            ]);
        }
        listed.to_string()
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn show(common: &Common, id: MessageId, full: bool, output: &mut Output) -> Result<ExitCode> {
    let query = DeadLetterQuery { id: Some(id), topic: None, limit: 1 };
    let letters = common.migrated_store().await?.dead_letters(&query).await?;
    let Some(letter) = letters.first() else {
        bail!("no dead letter has the id {id}");
    };
    let mut all = as_json(letter);
    let payload = Payload::of(letter.message.payload());
    match &payload {
        Payload::Text(text) => all.insert("payload".to_owned(), json!(text)),
        Payload::Hex(digits) => all.insert("payload_hex".to_owned(), json!(digits)),
    };
    output.print(&all, || {
        let mut fields = table(&["field", "value"]);
        let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        for (field, value) in as_json(letter).iter().filter(|(_, value)| !value.is_null()) {
            fields.add_row([field, &visible(&shown(value))]);
        }
        format!("{fields}\n\n{}", payload.shown(if full { usize::MAX } else { SHOWN }))
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn request(
    common: &Common,
    ids: &[MessageId],
    action: OperatorAction,
    output: &mut Output,
) -> Result<ExitCode> {
    let asked = common.migrated_store().await?.request(ids, action).await?;
    let unknown = (ids.len() as u64).saturating_sub(asked);
    let action = action.as_str();
    output.print(&json!({ "action": action, "asked": asked, "unknown": unknown }), || {
        let missing = match unknown {
            0 => String::new(),
            unknown => format!("; {unknown} of the ids belong to no dead letter and no blocked message"),
        };
        format!("{action} was asked for {asked} messages; a relay carries it out{missing}")
    })?;
    Ok(if unknown == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Everything but the payload.
fn as_json(letter: &DeadLetter) -> Map<String, Value> {
    let message = &letter.message;
    let headers: Map<_, _> =
        message.headers().iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    let fields = [
        ("id", json!(message.id())),
        ("seq", json!(letter.seq)),
        ("topic", json!(message.topic().as_str())),
        ("ordering_key", json!(message.ordering_key().map(|key| key.as_str()))),
        ("event_type", json!(message.event_type())),
        ("schema_version", json!(message.schema_version())),
        ("aggregate_type", json!(message.aggregate_type())),
        ("aggregate_id", json!(message.aggregate_id())),
        ("correlation_id", json!(message.correlation_id())),
        ("content_type", json!(message.content_type())),
        ("headers", Value::Object(headers)),
        ("payload_bytes", json!(message.payload().len())),
        ("created_at", json!(message.created_at().map(time))),
        ("reason", json!(letter.reason)),
        ("attempts", json!(letter.attempts)),
        ("last_error", json!(letter.last_error)),
        ("died_at", json!(time(letter.died_at))),
        ("parked_behind", json!(letter.parked_behind)),
        ("requested", json!(letter.requested)),
    ];
    fields.into_iter().map(|(field, value)| (field.to_owned(), value)).collect()
}
