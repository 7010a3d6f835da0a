use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use outbox::observe::{Observer, Observing};
use outbox::relay::{RelayHandle, RelayStats};
use outbox::{Config, ConfigError, ConfigOrigin, DeliveryMode};
use serde::Serialize;

use crate::args::{Common, RelayOptions};
use crate::output::Output;
use crate::signals::{Signals, Wish};

pub(crate) async fn run(common: &Common, options: &RelayOptions, output: &mut Output) -> Result<ExitCode> {
    let config = common.config(options.transport.as_deref())?;
    check_role(&config)?;
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
    let relay = config.relay().await?;
    let mut handle = tokio::select! {
        started = relay.start() => started?,
        // A database that does not answer takes its time; nothing was begun that would have to be ended.
        () = stop(&mut signals) => return Ok(ExitCode::SUCCESS),
    };
    let observing = match observe(&config, options, &handle).await {
        Ok(observing) => observing,
        Err(error) => {
            handle.shutdown().await?;
            return Err(error);
        }
    };
    let id = handle.id().to_string();
    loop {
        let event = next_event(&mut handle, &mut signals, options.drain).await;
        match event? {
            Event::Wish(Wish::Counters) => {
                counters.print(&Counters::of(&id, &handle.stats()), || line(&handle.stats()))?
            }
            Event::Wish(Wish::Stop) | Event::Drained => break,
        }
    }
    let before = handle.stats();
    tokio::select! {
        ended = handle.shutdown() => {
            let stats = ended.as_ref().unwrap_or(&before);
            counters.print(&Counters::of(&id, stats), || line(stats))?;
            ended?;
        }
        () = stop(&mut signals) => bail!("stopped by a second signal before everything under way was settled"),
    }
    // To the end, so that a scrape sees the last messages, too.
    if let Some(observing) = observing {
        observing.shutdown().await;
    }
    Ok(ExitCode::SUCCESS)
}

/// Serves metrics and health, if that is asked for.
async fn observe(config: &Config, options: &RelayOptions, relay: &RelayHandle) -> Result<Option<Observing>> {
    let configured = config.metrics.enabled.then_some(config.metrics.listen);
    let Some(address) = options.metrics_listen.or(configured) else {
        return Ok(None);
    };
    // With connections of its own: the relay must not wait for those who count its rows.
    let store = config.connect_store().await?;
    Ok(Some(Observer::new().relay(relay).store(store).serve(address).await?))
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
    if config.mode == DeliveryMode::Direct {
        tracing::warn!("the mode is direct: what is still in the tables is delivered, and nothing new comes");
    }
    Ok(())
}

enum Event {
    Wish(Wish),
    Drained,
}

async fn next_event(handle: &mut RelayHandle, signals: &mut Signals, drain: bool) -> Result<Event> {
    /// How often a relay that drains is asked whether it still lives.
    const LOOK: Duration = Duration::from_secs(1);
    if !drain {
        return tokio::select! {
            wish = signals.next() => Ok(Event::Wish(wish)),
            ended = handle.ended() => Err(ended_by_itself(ended)),
        };
    }
    loop {
        tokio::select! {
            wish = signals.next() => return Ok(Event::Wish(wish)),
            drained = tokio::time::timeout(LOOK, handle.drained()) => if let Ok(drained) = drained {
                drained?;
                return Ok(Event::Drained);
            }
        }
        if let Ok(ended) = tokio::time::timeout(Duration::ZERO, handle.ended()).await {
            return Err(ended_by_itself(ended));
        }
    }
}

fn ended_by_itself(ended: Result<(), outbox::relay::RelayError>) -> anyhow::Error {
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
