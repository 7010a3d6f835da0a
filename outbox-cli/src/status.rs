use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use outbox::{OutboxStats, RelayInfo, ShardInfo};
use serde_json::{Value, json};

use crate::args::{Common, StatusOptions};
use crate::output::{Output, or_dash, span, table, visible};

pub(crate) async fn run(common: &Common, options: &StatusOptions, output: &mut Output) -> Result<ExitCode> {
    let stats = common.migrated_store().await?.stats(options.count_limit).await?;
    output.print(&as_json(&stats), || {
        format!("{}\n\n{}\n\n{}", counts(&stats), shards(&stats), relays(&stats.relays))
    })?;
    Ok(ExitCode::SUCCESS)
}

fn counts(stats: &OutboxStats) -> String {
    let count = |rows: u64| {
        // The store stops counting there, so it may be more.
        if rows >= stats.count_limit { format!("{rows}+") } else { rows.to_string() }
    };
    let since = |what: &str, time: Option<Duration>| {
        time.map_or_else(String::new, |time| format!("{what} {}", span(time)))
    };
    let mut counts = table(&["messages", "", ""]);
    let rows = [
        ("pending", stats.pending, since("oldest", stats.oldest_pending)),
        ("delayed", stats.delayed, String::new()),
        ("retrying", stats.retrying, String::new()),
        ("held", stats.held, String::new()),
        ("blocked keys", stats.blocked_keys, since("longest", stats.longest_blocked)),
        ("dead", stats.dead, String::new()),
    ];
    for (what, rows, remark) in rows {
        counts.add_row([what.to_owned(), count(rows), remark]);
    }
    counts.to_string()
}

fn shards(stats: &OutboxStats) -> String {
    let mut shards = table(&["shard", "owner", "lease left", "epoch", "unclean take-overs"]);
    for shard in &stats.shards {
        shards.add_row([
            shard.shard.to_string(),
            or_dash(owner(shard, &stats.relays)),
            or_dash(shard.lease_left.map(span)),
            shard.epoch.to_string(),
            shard.unclean_takeovers.to_string(),
        ]);
    }
    shards.to_string()
}

/// What the owner calls itself; its id if it is forgotten by now.
fn owner<'a>(shard: &'a ShardInfo, relays: &'a [RelayInfo]) -> Option<&'a str> {
    let owner = shard.owner.as_deref()?;
    let known = relays.iter().find(|relay| relay.relay == owner);
    Some(known.map_or(owner, |relay| &relay.label))
}

fn relays(known: &[RelayInfo]) -> String {
    if known.is_empty() {
        return "no relay has worked here within a day".to_owned();
    }
    let mut relays = table(&["relay", "state", "last seen", "id"]);
    for relay in known {
        let state = if relay.alive { "alive" } else { "dead" };
        let seen = format!("{} ago", span(relay.last_seen));
        relays.add_row([&*visible(&relay.label), state, &seen, &relay.relay]);
    }
    relays.to_string()
}

/// The same, with times in seconds.
fn as_json(stats: &OutboxStats) -> Value {
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    let shards: Vec<_> = stats
        .shards
        .iter()
        .map(|shard| {
            json!({
                "shard": shard.shard, "owner": shard.owner, "epoch": shard.epoch,
                "lease_left_seconds": seconds(shard.lease_left), "unclean_takeovers": shard.unclean_takeovers,
            })
        })
        .collect();
    let relays: Vec<_> = stats
        .relays
        .iter()
        .map(|relay| {
            json!({
                "relay": relay.relay, "label": relay.label, "alive": relay.alive,
                "last_seen_seconds": relay.last_seen.as_secs_f64(),
            })
        })
        .collect();
    json!({
        "pending": stats.pending, "oldest_pending_seconds": seconds(stats.oldest_pending),
        "delayed": stats.delayed, "retrying": stats.retrying, "held": stats.held,
        "blocked_keys": stats.blocked_keys, "longest_blocked_seconds": seconds(stats.longest_blocked),
        "dead": stats.dead, "count_limit": stats.count_limit, "shards": shards, "relays": relays,
    })
}
