//! Does what is planned, to whom it is planned for.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use outbox_conformance::Proxy;
use outbox_conformance::transport_suite::BrokerProcess as _;
use tokio::time::{Instant, sleep, timeout};

use crate::fault::Fault;
use crate::plan::{Injection, Plan};
use crate::world::{Actor, WINDOW, World};

/// How long a process may take to end that was told to.
const END_LIMIT: Duration = Duration::from_secs(15);
/// How long a server may take to come back.
const SERVER_LIMIT: Duration = Duration::from_secs(60);
/// How long a broker refuses messages, and then takes them, at a time.
const REFUSAL: Duration = Duration::from_millis(10);
/// How long a cut waits for the bytes that it is to come after.
const CUT_LIMIT: Duration = Duration::from_secs(3);

/// What was done.
#[derive(Debug, Clone, Default)]
pub(crate) struct Done {
    /// How often, by the name of the fault.
    pub(crate) injections: BTreeMap<String, u32>,
    /// How many second copies all of it explains.
    pub(crate) duplicates_allowed: usize,
    /// What did not end as it should.
    pub(crate) mishaps: Vec<String>,
}

/// Carries out a plan, and returns when everything is whole again.
pub(crate) async fn torment(world: &World, plan: &Plan) -> Done {
    let done = Mutex::new(Done::default());
    let shared = &done;
    let each = plan.injections.iter().map(|injection| async move {
        sleep(injection.at.saturating_sub(world.log.elapsed())).await;
        if let Err(error) = inject(world, injection, shared).await {
            let text = format!("{}: {error:#}", injection.fault);
            world.log.add(&*text);
            shared.lock().unwrap_or_else(PoisonError::into_inner).mishaps.push(text);
        }
    });
    futures_util::future::join_all(each).await;
    done.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// One fault, from its beginning to its end. Two that are for the same come one after the other.
async fn inject(world: &World, injection: &Injection, done: &Mutex<Done>) -> Result<()> {
    let &Injection { fault, relay, lasts, bytes, .. } = injection;
    let count = |windows: usize| {
        let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
        *done.injections.entry(fault.to_string()).or_default() += 1;
        done.duplicates_allowed += windows * WINDOW;
    };
    let links = &world.links;
    let to_broker = |link| {
        // What is done to the one way is done to everybody.
        let windows = if links.is_shared { world.relays.len() } else { fault.windows() };
        (link, windows)
    };
    let actor = match fault {
        Fault::RelayKill | Fault::RelayStop | Fault::RelayTerm => Some(&world.relays[relay]),
        Fault::ProducerKill | Fault::ProducerStop => Some(&world.producer),
        Fault::ConsumerKill | Fault::ConsumerStop | Fault::ConsumerTerm => Some(&world.consumer),
        _ => None,
    };
    let link = match fault {
        Fault::RelayDatabaseHold
        | Fault::RelayDatabaseReset
        | Fault::RelayDatabaseHole
        | Fault::RelayDatabaseCut => Some((&links.relay_database[relay], fault.windows())),
        Fault::RelayBrokerReset | Fault::RelayBrokerHole | Fault::RelayBrokerHalf | Fault::RelayBrokerCut => {
            Some(to_broker(&links.relay_broker[relay]))
        }
        Fault::ProducerDatabaseCut | Fault::ProducerDatabaseReset => Some((&links.producer_database, 0)),
        Fault::ConsumerBrokerReset | Fault::ConsumerBrokerCut | Fault::ConsumerBrokerHole => {
            let (link, windows) = to_broker(&links.consumer_broker);
            Some((link, if links.is_shared { windows } else { 0 }))
        }
        Fault::ConsumerDatabaseCut => Some((&links.consumer_database, 0)),
        _ => None,
    };
    if let Some(actor) = actor {
        let _busy = actor.busy.lock().await;
        count(fault.windows());
        world.log.add(format!("{fault}: {} for {lasts:.1?}", actor.name));
        let in_order = strike(actor, fault, lasts).await?;
        if !in_order {
            // It could not finish what was under way.
            done.lock().unwrap_or_else(PoisonError::into_inner).duplicates_allowed += WINDOW;
        }
        world.log.add(format!("{fault}: {} is back", actor.name));
        return Ok(());
    }
    if let Some((link, windows)) = link {
        let Some(proxy) = &link.proxy else { return Ok(()) };
        let _busy = link.busy.lock().await;
        count(windows);
        let whose =
            if fault.to_string().starts_with("relay") { format!(", relay{relay}") } else { String::new() };
        world.log.add(format!("{fault}{whose} for {lasts:.1?}, {bytes} bytes"));
        disturb(proxy, fault, lasts, bytes).await;
        world.log.add(format!("{fault}{whose} is over"));
        return Ok(());
    }
    let busy = if fault.needs_a_database_server() { &world.database_busy } else { &world.broker_busy };
    let _busy = busy.lock().await;
    count(fault.windows());
    world.log.add(format!("{fault} for {lasts:.1?}"));
    timeout(SERVER_LIMIT, outage(world, fault, lasts)).await.context("the server does not come back")??;
    world.log.add(format!("{fault} is over"));
    Ok(())
}

/// Says whether it ended in order, where it was told to end.
async fn strike(actor: &Actor, fault: Fault, lasts: Duration) -> Result<bool> {
    let mut in_order = true;
    match fault {
        Fault::RelayStop | Fault::ProducerStop | Fault::ConsumerStop => {
            actor.signal("-STOP")?;
            sleep(lasts).await;
            actor.signal("-CONT")?;
        }
        Fault::RelayTerm | Fault::ConsumerTerm => {
            let ended = actor.stop(END_LIMIT).await;
            actor.start()?;
            in_order = ended?.success();
        }
        _ => {
            actor.kill()?;
            sleep(lasts).await;
            actor.start()?;
        }
    }
    Ok(in_order)
}

async fn disturb(proxy: &Proxy, fault: Fault, lasts: Duration, bytes: u16) {
    match fault {
        Fault::RelayDatabaseHold => {
            proxy.hold(true);
            sleep(lasts).await;
            proxy.hold(false);
        }
        Fault::RelayDatabaseHole | Fault::RelayBrokerHole | Fault::ConsumerBrokerHole => {
            proxy.black_hole(true);
            sleep(lasts).await;
            proxy.black_hole(false);
        }
        Fault::RelayBrokerHalf => {
            proxy.swallow_answers(true);
            sleep(lasts).await;
            proxy.swallow_answers(false);
        }
        Fault::RelayDatabaseReset
        | Fault::RelayBrokerReset
        | Fault::ProducerDatabaseReset
        | Fault::ConsumerBrokerReset => proxy.reset().await,
        _ => {
            proxy.cut_after(bytes);
            let cut = async {
                while proxy.is_to_cut() {
                    sleep(Duration::from_millis(10)).await;
                }
            };
            let _ = timeout(CUT_LIMIT, cut).await;
        }
    }
}

async fn outage(world: &World, fault: Fault, lasts: Duration) -> Result<()> {
    let (store, broker) = (&world.store, &world.broker);
    match fault {
        Fault::DatabaseKill => {
            store.kill().await?;
            sleep(lasts).await;
            store.start().await?;
        }
        Fault::DatabaseRestart => {
            store.stop().await?;
            sleep(lasts).await;
            store.start().await?;
        }
        Fault::BrokerFreeze => {
            broker.server().freeze().await;
            sleep(lasts).await;
            broker.server().thaw().await;
        }
        Fault::BrokerRestart => broker.server().restart().await,
        Fault::BrokerRefuse => {
            let begun = Instant::now();
            while begun.elapsed() < lasts {
                broker.refuse(true).await?;
                sleep(REFUSAL).await;
                broker.refuse(false).await?;
                sleep(REFUSAL).await;
            }
        }
        _ => {
            broker.server().kill().await;
            sleep(lasts).await;
            broker.server().start().await;
        }
    }
    if fault.needs_a_database_server() {
        return Ok(());
    }
    while !broker.is_ready().await {
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
