use std::time::Duration;

use super::super::script::{Script, Step};
use super::plan::{Event, Kind, Nature, Setup, Traits};

/// Scripts that were found to break a promise, as short as they became.
pub(crate) fn found() -> Vec<(&'static str, Script<Setup, Event>)> {
    let setup = Setup {
        broker: Traits { kind: Kind::Log, prefetch: 4 },
        members: 1,
        per_key: true,
        concurrency: 2,
        max_attempts: 1,
        handler_timeout: Duration::from_secs(30),
        shutdown_timeout: Duration::from_secs(10),
        latency: Duration::ZERO,
        temper: None,
    };
    vec![(
        "a lost connection brings back a message that is still being tried, and its one try is taken for two",
        Script {
            setup,
            steps: steps([
                Event::Start,
                Event::LoseSettlements { carried_out: false, count: 1 },
                Event::Publish(vec![(6, Nature::Good), (7, Nature::Slow)]),
            ]),
        },
    )]
}

fn steps(events: impl IntoIterator<Item = Event>) -> Vec<Step<Event>> {
    events.into_iter().map(|event| Step { event, pause: Duration::ZERO }).collect()
}
