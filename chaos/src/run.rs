//! One run: work, trouble, peace, and the verdict.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use tokio::time::sleep;

use crate::check::history::History;
use crate::check::{Timeline, Verdict};
use crate::log::Log;
use crate::nemesis::{Done, torment};
use crate::plan::Plan;
use crate::results::{Record, RelayFigures};
use crate::world::{Actor, Programs, Servers, World};

/// How long everything may take to be delivered, and to have its effects, once there is peace.
const DRAIN_LIMIT: Duration = Duration::from_secs(60);
/// How long a process may take to end.
const END_LIMIT: Duration = Duration::from_secs(15);
/// How often the outbox must be found empty in a row: a transaction of a killed producer may still be committed.
const LOOKS: u32 = 3;

/// What a run came to.
pub(crate) struct Outcome {
    pub(crate) record: Record,
    /// The story of what did not hold.
    pub(crate) story: Option<String>,
}

/// Runs a plan in a folder, with these programs.
pub(crate) async fn run(
    plan: &Plan,
    servers: Servers,
    folder: &Path,
    programs: &Programs,
) -> Result<Outcome> {
    let log = Arc::new(Log::new());
    let begun = SystemTime::now();
    fs::write(folder.join("plan.json"), serde_json::to_string_pretty(plan)?)?;
    let world = World::make(plan, servers, folder, programs, Arc::clone(&log)).await?;
    // The time of making it is not a time of the run.
    let world = World { log: Arc::new(Log::new()), ..world };
    let begun = begun + log.elapsed();
    for actor in world.actors() {
        actor.start()?;
    }
    let work = async {
        let (done, ()) = tokio::join!(torment(&world, plan), sleep(Duration::from_secs(plan.seconds)));
        world.producer.kill()?;
        world.log.add("peace");
        peace(&world, plan, done).await
    };
    let (history, done, drained) = tokio::select! {
        ended = work => ended?,
        () = world.supervise() => unreachable!("it never ends"),
    };
    let verdict = Verdict::of(&history);
    let lines = world.log.lines();
    let text: Vec<String> = lines.iter().map(ToString::to_string).collect();
    fs::write(folder.join("timeline"), text.join("\n"))?;
    let story = if verdict.violations.is_empty() {
        None
    } else {
        if let Some(path) = world.store.log() {
            let _ = fs::copy(path, folder.join("database.log"));
        }
        let timeline = Timeline { folder, begun, log: &lines, history: &history };
        let story = timeline.of(&verdict.violations)?;
        fs::write(folder.join("story"), &story)?;
        Some(story)
    };
    let record = Record {
        seed: plan.seed,
        store: plan.store,
        transport: plan.transport,
        sabotage: plan.sabotage.clone(),
        seconds: plan.seconds,
        injections: done.injections,
        committed: history.committed.len(),
        refused: history.committed.iter().filter(|entry| entry.refused).count(),
        received: history.received.len(),
        duplicates: verdict.duplicates,
        duplicates_allowed: history.duplicates_allowed,
        effects: history.effects.len(),
        drained_ms: u64::try_from(drained.as_millis()).unwrap_or(u64::MAX),
        restarts: world.actors().map(|actor| actor.ended.load(Ordering::SeqCst)).sum(),
        relays: RelayFigures::read(folder),
        violations: verdict.violations,
    };
    Ok(Outcome { record, story })
}

/// Waits until everything is delivered and has had its effects, ends everything, and reads what there is.
async fn peace(world: &World, plan: &Plan, mut done: Done) -> Result<(History, Done, Duration)> {
    let begun = Instant::now();
    let mut empty = 0;
    while empty < LOOKS && begun.elapsed() < DRAIN_LIMIT {
        sleep(Duration::from_millis(100)).await;
        let waiting = world.store.progress().await.map(|progress| progress.waiting);
        empty = if matches!(waiting, Ok(0)) { empty + 1 } else { 0 };
    }
    let drained = begun.elapsed();
    world.log.add(format!("the outbox is empty, or the time for that is over, after {drained:.1?}"));
    let expected = world.store.records().await?.audit.iter().filter(|entry| !entry.refused).count();
    let expected = i64::try_from(expected)?;
    let begun = Instant::now();
    let mut limit = DRAIN_LIMIT;
    let (mut effects, mut moved) = (0, begun);
    while effects < expected && begun.elapsed() < limit {
        sleep(Duration::from_millis(100)).await;
        let now = world.store.progress().await.map_or(effects, |progress| progress.effects);
        if now != effects {
            (effects, moved) = (now, Instant::now());
        }
        if let Some(session) = plan.transport.consumers_anew_after()
            && moved.elapsed() > session
        {
            // It dies by itself now and then, also in peace: nobody is left in the group when the next one joins.
            let _busy = world.consumer.busy.lock().await;
            end(&world.consumer, &mut done).await;
            sleep(session).await;
            world.consumer.start()?;
            world.log.add("the consumer stood still, and is started anew");
            limit += session;
            moved = Instant::now();
        }
    }
    world
        .log
        .add(format!("all effects are there, or the time for that is over, after {:.1?}", begun.elapsed()));
    for actor in world.relays.iter().chain([&world.consumer]) {
        end(actor, &mut done).await;
    }
    // A consumer that dies with a message in its hands is a fault, too.
    let deaths = world.consumer.aborted.load(Ordering::SeqCst);
    if deaths > 0 {
        done.injections.insert("consumer-abort".to_owned(), deaths);
    }
    let history = read(world, plan, &done).await?;
    Ok((history, done, drained))
}

/// Tells a process to end, and notes if it does not do so as it should.
async fn end(actor: &Actor, done: &mut Done) {
    match actor.stop(END_LIMIT).await {
        Ok(status) if status.success() => {}
        Ok(status) => done.mishaps.push(format!("{} ended with {status}", actor.name)),
        Err(error) => done.mishaps.push(format!("{error:#}")),
    }
}

async fn read(world: &World, plan: &Plan, done: &Done) -> Result<History> {
    let waiting = world.store.progress().await?.waiting;
    let records = world.store.records().await?;
    Ok(History {
        committed: records.audit,
        received: world.broker.read_all().await.context("reading the broker")?,
        dead: records.dead,
        effects: records.effects,
        given_up: world.broker.dead_letters().await.context("reading the dead letters of the consumers")?,
        stolen: world.store.stolen().await?.unwrap_or(0),
        held_up: world.store.held_up().await?,
        waiting,
        duplicates_allowed: done.duplicates_allowed,
        mishaps: done.mishaps.clone(),
        failures: if plan.disturbs_producers() { Vec::new() } else { failures(&world.folder) },
    })
}

/// Why transactions failed, as their producers were told.
fn failures(folder: &Path) -> Vec<String> {
    let journal = fs::read_to_string(folder.join("journal")).unwrap_or_default();
    journal.lines().filter_map(|line| Some(line.split_once(" failed: ")?.1.to_owned())).collect()
}
