use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, bail};
use outbox::relay::{RelayError, RelayStats};
use outbox::{Config, ConfigError, ConfigOrigin, DeliveryMode, OutboxHandle};
use serde::Serialize;

use crate::args::{Common, RelayOptions};
use crate::output::Output;
use crate::signals::{Signals, Wish};

pub(crate) async fn run(common: &Common, options: &RelayOptions, output: &mut Output) -> Result<ExitCode> {
    let config = common.config(options.transport.as_deref())?;
    check_role(&config)?;
    let config = as_relay(config, options);
    let url = config.transport.url.as_deref().unwrap_or_default();
    let scheme = url.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let mut aside = Output::new(std::io::stderr(), common.json);
    // To stdout: the messages go, and nothing else may stand between them.
    let counters = if scheme == "stdout" { &mut aside } else { output };
    if scheme == "memory" {
        tracing::warn!(
            "memory: is a broker that nobody reads from: messages count as delivered and are gone"
        );
    }

    let mut signals = Signals::catch()?;
    let outbox = tokio::select! {
        started = config.start() => started?,
        // A database that does not answer takes its time; nothing was begun that would have to be ended.
        () = stop(&mut signals) => return Ok(ExitCode::SUCCESS),
    };
    let id = outbox.monitor().map(|monitor| monitor.status().relay.to_string()).unwrap_or_default();
    // Until it is to stop, or has delivered everything.
    while let Event::Wish(Wish::Counters) = next_event(&outbox, &mut signals, options.drain).await? {
        counters.print(&Counters::of(&id, &outbox.stats()), || line(&outbox.stats()))?;
    }
    tokio::select! {
        ended = outbox.shutdown() => {
            let stats = outbox.stats();
            counters.print(&Counters::of(&id, &stats), || line(&stats))?;
            ended?;
        }
        () = stop(&mut signals) => bail!("stopped by a second signal before everything under way was settled"),
    }
    Ok(ExitCode::SUCCESS)
}

/// A process that does nothing but relay: whatever those that write are told about themselves.
fn as_relay(mut config: Config, options: &RelayOptions) -> Config {
    if config.mode == DeliveryMode::Direct {
        tracing::warn!("the mode is direct: what is still in the tables is delivered, and nothing new comes");
    }
    config.enabled = true;
    config.mode = DeliveryMode::Transactional;
    config.auto_start = true;
    if let Some(address) = options.metrics_listen {
        config.metrics.enabled = true;
        config.metrics.listen = address;
    }
    config
}

/// Whether this process is to relay at all: it may have the environment of those that only write.
fn check_role(config: &Config) -> Result<()> {
    if !config.processor_enabled {
        let key = "processor_enabled";
        let setting = config.settings().into_iter().find(|setting| setting.key == key);
        return Err(ConfigError::WrongValue {
            origin: setting.map_or(ConfigOrigin::Default, |setting| setting.origin),
            key: key.to_owned(),
            value: "false".to_owned(),
            allowed: "the instance that relays needs OUTBOX_PROCESSOR_ENABLED=true".to_owned(),
        }
        .into());
    }
    Ok(())
}

enum Event {
    Wish(Wish),
    Drained,
}

async fn next_event(outbox: &OutboxHandle, signals: &mut Signals, drain: bool) -> Result<Event> {
    let drained = async { if drain { outbox.drained().await } else { std::future::pending().await } };
    tokio::select! {
        wish = signals.next() => Ok(Event::Wish(wish)),
        drained = drained => Ok(drained.map(|()| Event::Drained)?),
        ended = outbox.ended() => Err(ended_by_itself(ended)),
    }
}

fn ended_by_itself(ended: Result<(), Arc<RelayError>>) -> anyhow::Error {
    match ended {
        Ok(()) => anyhow::anyhow!("the relay has ended by itself"),
        Err(error) => error.into(),
    }
}

async fn stop(signals: &mut Signals) {
    while signals.next().await != Wish::Stop {}
}

/// The counters, and whose they are.
#[derive(Serialize)]
struct Counters<'a> {
    relay: &'a str,
    #[serde(flatten)]
    stats: &'a RelayStats,
}

impl<'a> Counters<'a> {
    const fn of(relay: &'a str, stats: &'a RelayStats) -> Self {
        Self { relay, stats }
    }
}

fn line(stats: &RelayStats) -> String {
    format!(
        "delivered {}, retried {}, dead {}, held {}, delayed {}, unknown {}, stale settles {} ({} rows), leases lost {}, \
         late commits {}, breaker opened {}, reads {}, settles {}, shards {}",
        stats.delivered,
        stats.retried,
        stats.dead,
        stats.held,
        stats.delayed,
        stats.unknown,
        stats.stale_settles,
        stats.stale_rows,
        stats.leases_lost,
        stats.late_commits,
        stats.breaker_opened,
        stats.reads,
        stats.settles,
        stats.shards,
    )
}
