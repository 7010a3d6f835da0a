use outbox_relay::OnDead;

use super::from_file;
use crate::config::Config;
use crate::config::keys::KEYS;

#[test]
fn the_documented_file_is_the_defaults_and_names_every_key() {
    let docs = include_str!("../../docs/config.md");
    let example = docs.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let config = from_file(example).unwrap();
    for key in KEYS {
        let name = key.name.rsplit_once('.').map_or(key.name, |(_, name)| name);
        let is_there = |line: &str| {
            line.trim_start_matches("# ").starts_with(&format!("{name} = "))
                || line.starts_with(&format!("[[{}]]", key.name))
        };
        assert!(example.lines().any(is_there), "{}", key.name);
    }
    assert_eq!(config.routes[0].name, "audit");
    let (pattern, policy) = &config.relay.on_dead.rules[0];
    assert_eq!((pattern.to_string().as_str(), *policy), ("audit.*", OnDead::Skip));

    let mut config = config;
    config.relay.on_dead.rules.clear();
    config.relay.label = Config::default().relay.label;
    let default = Config::default();
    assert_eq!(config.relay, default.relay, "the example shows the defaults");
    assert_eq!(config.inbox, default.inbox);
    assert_eq!(config.metrics, default.metrics);
    assert_eq!((config.wakeups, config.mode), (default.wakeups, default.mode));
    assert!(config.enabled && config.processor_enabled && config.auto_start);
}

/// `OUTBOX_UPDATE_DOCS=1` writes the page.
#[test]
fn the_reference_is_made_from_the_keys() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let reference = Config::reference();
    if std::env::var("OUTBOX_UPDATE_DOCS").is_ok_and(|value| value == "1") {
        std::fs::write(&path, &reference).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        page == reference,
        "docs/configuration.md is not what the keys say; OUTBOX_UPDATE_DOCS=1 writes it"
    );
    for key in KEYS {
        assert!(reference.contains(&format!("\n| `{}`", key.name)), "{}", key.name);
    }
}

/// The routes of the reference, too, are what the program reads.
#[test]
fn the_routes_of_the_reference_are_read() {
    let reference = Config::reference();
    let example = reference.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let config = from_file(example).unwrap();
    assert_eq!((config.routes[0].name.as_str(), config.routes[0].topics.len()), ("audit", 2));
}
