use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::journal::Journal;
use super::script::{Script, World};
use super::shrink::shrink;

type ScriptOf<W> = Script<<W as World>::Setup, <W as World>::Event>;

/// Plays the worlds of many seeds. The first one that breaks a promise is shortened and shown.
pub(super) fn explore<W: World>(worlds: u64) {
    let first = number("OUTBOX_SIM_SEED", 0);
    let end = first + number("OUTBOX_SIM_WORLDS", worlds);
    let next = AtomicU64::new(first);
    let broken: Mutex<Option<u64>> = Mutex::new(None);
    let begun = Instant::now();
    let work = || {
        while broken.lock().unwrap().is_none() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            if play::<W>(seed, &script::<W>(seed), &Journal::closed()).is_err() {
                let mut broken = broken.lock().unwrap();
                *broken = Some(broken.map_or(seed, |other| other.min(seed)));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..number("OUTBOX_SIM_THREADS", 1) {
            scope.spawn(work);
        }
        work();
    });
    let (taken, played) = (begun.elapsed(), end.min(next.load(Ordering::Relaxed)) - first);
    eprintln!(
        "{}: {played} worlds in {:.1} s, {:.0} per second",
        W::NAME,
        taken.as_secs_f64(),
        f64::from(u32::try_from(played).unwrap_or(u32::MAX))
            / taken.max(Duration::from_millis(1)).as_secs_f64()
    );
    if let Some(seed) = *broken.lock().unwrap() {
        panic!("{}", report::<W>(seed));
    }
}

/// Plays one script.
pub(super) fn passes<W: World>(name: &str, script: &ScriptOf<W>) {
    let journal = Journal::open();
    if let Err(broken) = play::<W>(0, script, &journal) {
        panic!("{name}: {broken}\n{journal}");
    }
}

/// Tells the history of a seed from others.
pub(super) fn fingerprint<W: World>(seed: u64) -> Result<u64, String> {
    play::<W>(seed, &script::<W>(seed), &Journal::closed())
}

fn script<W: World>(seed: u64) -> ScriptOf<W> {
    W::imagine(&mut fastrand::Rng::with_seed(seed))
}

fn play<W: World>(seed: u64, script: &ScriptOf<W>, journal: &Journal) -> Result<u64, String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    // Whoever takes a number from the generator of the thread gets the same one.
    fastrand::seed(seed);
    let played = std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(W::play(script, journal))));
    played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Err(text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned())
    })
}

fn report<W: World>(seed: u64) -> String {
    let script = script::<W>(seed);
    let name = W::NAME;
    let again = format!(
        "to see it again: cargo xtask sim {name} --from {seed} --seeds 1\n\
         or: OUTBOX_SIM_SEED={seed} OUTBOX_SIM_WORLDS=1 cargo test -p outbox-relay --test it simulation"
    );
    let Err(first) = play::<W>(seed, &script, &Journal::closed()) else {
        return format!(
            "seed {seed} of the {name} failed once and not again: it is no function of its seed\n{again}"
        );
    };
    let (smallest, tried) =
        shrink(&script, |candidate| play::<W>(seed, candidate, &Journal::closed()).is_err());
    let journal = Journal::open();
    let broken = play::<W>(seed, &smallest, &journal).err().unwrap_or_default();
    format!(
        "seed {seed} of the {name}: {first}\n\n\
         {} of its {} steps are enough (found by {tried} worlds): {broken}\n\
         with {:?}\n{journal}\n{again}",
        smallest.steps.len(),
        script.steps.len(),
        smallest.setup,
    )
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}
