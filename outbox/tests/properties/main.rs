//! What must hold for every input: tried on the inputs in `fuzz/seeds`, and on random changes of them, which are the same
//! in each run. The targets in `fuzz` look for other inputs.
//!
//! `OUTBOX_TEST_INPUTS` (random changes for each property, 1,000) and `OUTBOX_TEST_SEED` (where they begin, 0) say how
//! long to look.

#![allow(clippy::unwrap_used, reason = "a test states what it expects")]
#![allow(unreachable_pub, reason = "the fuzz targets have the same modules")]

mod config;
mod input;
mod messages;
mod mutate;
mod records;
mod secrets;
mod traces;
mod urls;

use std::panic::catch_unwind;
use std::path::Path;

use fastrand::Rng;

/// A test of a property on the seeds of the fuzz target that has the test's name.
macro_rules! properties {
    ($($target:ident: $property:path,)+) => {
        $(
            #[test]
            fn $target() {
                hold(stringify!($target), $property);
            }
        )+

        /// A target without a property here would be tried by nobody.
        #[test]
        fn every_target_has_its_property() {
            let mut targets: Vec<_> = std::fs::read_dir(fuzz().join("fuzz_targets"))
                .unwrap()
                .map(|target| target.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
                .collect();
            targets.sort();
            let mut properties = [$(stringify!($target)),+];
            properties.sort_unstable();
            assert_eq!(targets, properties);
        }
    };
}

properties! {
    message: messages::accepted_is_publishable,
    kafka_record: records::kafka,
    amqp_record: records::amqp,
    nats_record: records::nats,
    redis_record: records::redis,
    broker_url: urls::broker_urls,
    config_file: config::file,
    config_environment: config::environment,
    traceparent: traces::traceparent,
}

/// What is refused at once tries little; some is kept because it was taken once, or shown.
#[test]
fn the_seeds_are_accepted() {
    type Accepts = fn(&[u8]) -> bool;
    let targets: [(&str, Accepts); 4] = [
        ("message", messages::is_accepted),
        ("broker_url", urls::is_taken),
        ("config_file", config::is_file),
        ("config_environment", config::is_environment),
    ];
    let all = targets.into_iter().flat_map(|(target, accepts)| {
        seeds(target).into_iter().filter(move |(path, seed)| accepts(seed) == path.contains("/refused-"))
    });
    let wrong: Vec<String> = all.map(|(path, _)| path).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

fn fuzz() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz"))
}

/// Where they are, and what is in them.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = std::fs::read_dir(fuzz().join("seeds").join(target)).unwrap();
    let mut paths: Vec<_> = folder.map(|seed| seed.unwrap().path()).collect();
    // A folder has no order, and the same run must be possible again.
    paths.sort();
    assert!(!paths.is_empty(), "no seeds of {target}");
    paths.iter().map(|path| (path.display().to_string(), std::fs::read(path).unwrap())).collect()
}

fn hold(target: &str, property: fn(&[u8])) {
    let seeds = seeds(target);
    for (path, seed) in &seeds {
        try_on(property, seed, path);
    }
    let seeds: Vec<Vec<u8>> = seeds.into_iter().map(|(_, seed)| seed).collect();
    let first = number("OUTBOX_TEST_SEED", 0);
    for seed in first..first + number("OUTBOX_TEST_INPUTS", 1_000) {
        let input = mutate::changed(&seeds, &mut Rng::with_seed(seed));
        try_on(property, &input, &format!("OUTBOX_TEST_SEED={seed}"));
    }
}

fn try_on(property: fn(&[u8]), input: &[u8], origin: &str) {
    if catch_unwind(|| property(input)).is_err() {
        let head = &input[..input.len().min(2_000)];
        panic!("the property does not hold for {origin}, {} bytes: {}", input.len(), head.escape_ascii());
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}
