use std::time::Duration;

use outbox_relay::OnDead;

use super::keys::{KEYS, variable};
use super::{Config, ConfigSources};

/// What a key does to a configuration, and a value for it in TOML and in the environment.
type Effect = (&'static str, &'static str, &'static str, fn(&Config) -> bool);

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const EFFECTS: &[Effect] = &[
    ("store.url", "'sqlite:x.db'", "sqlite:x.db", |c| c.store.url.as_deref() == Some("sqlite:x.db")),
    ("store.schema", "'app'", "app", |c| c.store.schema.as_deref() == Some("app")),
    ("store.table_prefix", "'7_'", "7_", |c| c.store.table_prefix == "7_"),
    ("transport.url", "'stdout:'", "stdout:", |c| c.transport.url.as_deref() == Some("stdout:")),
    ("relay.label", "'12'", "12", |c| c.relay.label == "12"),
    ("relay.listen", "false", "false", |c| !c.listen),
    ("relay.batch_size", "17", "17", |c| c.relay.batch_size == 17),
    ("relay.window_rows", "17", "17", |c| c.relay.window_rows == 17),
    ("relay.window_bytes", "17", "17", |c| c.relay.window_bytes == 17),
    ("relay.window_per_key", "17", "17", |c| c.relay.window_per_key == 17),
    ("relay.max_held_keys", "17", "17", |c| c.relay.max_held_keys == 17),
    ("relay.concurrency", "17", "17", |c| c.relay.concurrency == 17),
    ("relay.poll.busy", "'7s'", "7s", |c| c.relay.poll.busy == seconds(7)),
    ("relay.poll.calm", "'7s'", "7s", |c| c.relay.poll.calm == seconds(7)),
    ("relay.poll.idle", "'7s'", "7s", |c| c.relay.poll.idle == seconds(7)),
    ("relay.sweep_interval", "'7s'", "7s", |c| c.relay.sweep_interval == seconds(7)),
    ("relay.backstop_interval", "'7s'", "7s", |c| c.relay.backstop_interval == seconds(7)),
    ("relay.lease_ttl", "'2min'", "2min", |c| c.relay.lease_ttl == seconds(120)),
    ("relay.lease_margin", "'7s'", "7s", |c| c.relay.lease_margin == seconds(7)),
    ("relay.publish_timeout", "'7s'", "7s", |c| c.relay.publish_timeout == seconds(7)),
    ("relay.shutdown_timeout", "'7s'", "7s", |c| c.relay.shutdown_timeout == seconds(7)),
    ("relay.breaker_first", "'7s'", "7s", |c| c.relay.breaker_first == seconds(7)),
    ("relay.breaker_longest", "'7s'", "7s", |c| c.relay.breaker_longest == seconds(7)),
    ("relay.retry.schedule", "['1s', '2m']", "1s, 2m", |c| {
        c.relay.retry.schedule == [seconds(1), seconds(120)]
    }),
    ("relay.retry.jitter", "0.5", "0.5", |c| (c.relay.retry.jitter - 0.5).abs() < f64::EPSILON),
    ("relay.retry.max_attempts", "17", "17", |c| c.relay.retry.max_attempts == 17),
    ("relay.retry.max_unknown", "17", "17", |c| c.relay.retry.max_unknown == 17),
    ("relay.on_dead.default", "'block'", "block", |c| c.relay.on_dead.default == OnDead::Block),
];

fn from_file(toml: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox.toml");
    std::fs::write(&path, toml).unwrap();
    let loaded = Config::sources().file(&path).load();
    loaded.map_err(|error| error.to_string().replace(&*path.to_string_lossy(), "FILE"))
}

fn from_environment(name: &str, value: &str) -> Result<Config, String> {
    let variables = [(name.to_owned(), value.to_owned())];
    let loaded = Config::sources().variables(variables).load();
    loaded.map_err(|error| error.to_string())
}

/// `key = value` for a key with dots.
fn toml(key: &str, value: &str) -> String {
    let (table, name) = key.rsplit_once('.').unwrap();
    format!("[{table}]\n{name} = {value}\n")
}

#[test]
fn every_key_works_in_the_file_in_the_environment_and_in_code() {
    let tested: Vec<_> = EFFECTS.iter().map(|(key, ..)| *key).collect();
    let known: Vec<_> = KEYS.iter().map(|(key, _)| *key).collect();
    assert_eq!(tested, known);
    for (key, in_toml, in_environment, has_effect) in EFFECTS {
        assert!(!has_effect(&Config::default()), "{key}: the value is the default");
        assert!(has_effect(&from_file(&toml(key, in_toml)).unwrap()), "{key} in the file");
        let variable = variable(key);
        assert!(has_effect(&from_environment(&variable, in_environment).unwrap()), "{variable}");
        let code = Config::sources().set(*key, *in_environment).load().unwrap();
        assert!(has_effect(&code), "{key} in code");
    }
}

#[test]
fn the_documented_file_is_the_defaults_and_names_every_key() {
    let docs = include_str!("../docs/config.md");
    let example = docs.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let config = from_file(example).unwrap();
    for (key, _) in KEYS {
        let name = key.rsplit_once('.').unwrap().1;
        assert!(example.lines().any(|line| line.starts_with(&format!("{name} = "))), "{key}");
    }
    assert_eq!(config.routes[0].name, "audit");
    let (pattern, policy) = &config.relay.on_dead.rules[0];
    assert_eq!((pattern.to_string().as_str(), *policy), ("audit.*", OnDead::Skip));

    let mut relay = config.relay;
    relay.on_dead.rules.clear();
    relay.label = Config::default().relay.label;
    assert_eq!(relay, Config::default().relay, "the example shows the defaults");
    assert_eq!(config.listen, Config::default().listen);
}

#[test]
fn code_wins_over_the_environment_and_that_over_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox.toml");
    let three = "[relay]\nbatch_size = 1\nconcurrency = 1\nwindow_rows = 1\nretry.schedule = ['1s', '2s']\n";
    std::fs::write(&path, three).unwrap();
    let variables = [
        ("OUTBOX_RELAY_CONCURRENCY", "2"),
        ("OUTBOX_RELAY_WINDOW_ROWS", "2"),
        ("OUTBOX_RELAY_RETRY_SCHEDULE", "3s"),
    ];
    let sources = || {
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        ConfigSources::default().set("relay.window_rows", "3").variables(variables)
    };
    let relay = sources().file(&path).load().unwrap().relay;
    assert_eq!((relay.batch_size, relay.concurrency, relay.window_rows), (1, 2, 3));
    assert_eq!(relay.retry.schedule, [seconds(3)], "a list is replaced, not joined");
    assert_eq!(relay.window_per_key, Config::default().relay.window_per_key);
}

#[test]
fn an_unknown_key_names_itself_and_what_is_allowed() {
    assert_eq!(
        from_file("[relay.poll]\nidel = '5s'\n").unwrap_err(),
        "FILE: unknown key relay.poll.idel; allowed are busy, calm, idle"
    );
    assert_eq!(
        from_file("[stroe]\n").unwrap_err(),
        "FILE: unknown key stroe; allowed are store, transport, route, relay"
    );
    assert_eq!(
        from_environment("OUTBOX_STORE_URI", "sqlite:x").unwrap_err(),
        "environment: unknown variable OUTBOX_STORE_URI; allowed are OUTBOX_STORE_URL, OUTBOX_STORE_SCHEMA, \
         OUTBOX_STORE_TABLE_PREFIX"
    );
    let code = Config::sources().set("relay.nonsense", "1").load().unwrap_err();
    assert!(
        code.to_string().starts_with("code: unknown key relay.nonsense; allowed are store.url, "),
        "{code}"
    );
}

#[test]
fn variables_of_others_are_left_alone() {
    for name in [
        "OUTBOX_TEST_POSTGRES_URL",
        "OUTBOX_REQUIRE_SERVICES",
        "OUTBOX_RELAY_PORT",
        "OUTBOX_RELAY_PORT_80_TCP_ADDR",
        "OUTBOX_RELAY_SERVICE_HOST",
    ] {
        assert_eq!(from_environment(name, "x"), Ok(Config::default()), "{name}");
    }
    assert_eq!(from_environment("OUTBOX_STORE_URL", ""), Ok(Config::default()), "empty is not set");
}

#[test]
fn a_wrong_value_names_its_key_and_not_itself() {
    for (toml, expected) in [
        ("relay.batch_size = 'c4nary'", "FILE: relay.batch_size: expected a whole number, found a text"),
        ("relay.lease_ttl = 30", "FILE: relay.lease_ttl: expected a text, found a number"),
        (
            "relay.lease_ttl = 'c4nary'",
            "FILE: relay.lease_ttl: expected a duration, for example \"30s\" or \"500ms\"",
        ),
        ("store.url = ['c4nary']", "FILE: store.url: expected a text, found a list"),
        ("relay.on_dead.default = 'stop'", "FILE: relay.on_dead.default: expected one of park, skip, block"),
        (
            "relay.on_dead.rules = [{ topics = 'a*b', policy = 'skip' }]",
            "FILE: relay.on_dead.rules.0.topics: topic has the character '*' at byte 1; \
             allowed: visible ASCII without * > \" ' ` \\",
        ),
        ("relay.on_dead.rules = [{ topics = 'a' }]", "FILE: relay.on_dead.rules.0.policy is missing"),
    ] {
        assert_eq!(from_file(toml).unwrap_err(), expected);
    }
    assert_eq!(
        from_environment("OUTBOX_RELAY_BATCH_SIZE", "c4nary").unwrap_err(),
        "environment: OUTBOX_RELAY_BATCH_SIZE: expected a whole number, found a text"
    );
}

#[test]
fn what_would_be_refused_at_the_start_is_refused_at_once() {
    let error = from_file("relay.lease_margin = '1h'").unwrap_err();
    assert!(error.starts_with("configuration: relay configuration: lease_margin is 3600s"), "{error}");
}

#[test]
fn a_file_must_be_there_if_it_was_named() {
    let missing = tempfile::tempdir().unwrap().path().join("none.toml");
    assert!(Config::sources().file_if_exists(&missing).load().is_ok());
    let error = Config::sources().file(&missing).load().unwrap_err();
    assert_eq!(error.origin(), missing.to_string_lossy());
}

#[test]
fn nothing_shows_a_password() {
    const SECRET: &str = "c4nary";
    let file =
        "[store]\nurl = 'postgres://u:c4nary@h/d?password=c4nary'\n[transport]\nurl = 'nats://c4nary@h'\n";
    let config = from_file(file).unwrap();
    let shown = format!("{config:?} {config:#?} {:?}", ConfigSources::default().set("store.url", SECRET));
    assert!(!shown.contains(SECRET) && shown.contains("postgres:…"), "{shown}");
    for broken in [
        "[store]\nurl = 'postgres://u:c4nary@h",
        "[store]\nurl = 'postgres://u:c4nary@h/d' x",
        "[store]\nurl = postgres://u:c4nary@h/d\n",
        "url = 'c4nary'",
    ] {
        let text = from_file(broken).unwrap_err();
        assert!(!text.contains(SECRET), "{text}");
    }
    assert!(from_file("[store]\nurl = 'x").unwrap_err().starts_with("FILE: line 2: "));
}

#[test]
fn routes_are_read_in_their_order() {
    let config = from_file(
        "[[route]]\ntopics = ['audit.*', 'log']\ntransport = 'memory:'\n\
         [[route]]\nname = 'rest'\ntopics = ['*']\ntransport = 'nats://u:c4nary@h'\n",
    )
    .unwrap();
    let names: Vec<_> = config.routes.iter().map(|route| route.name.as_str()).collect();
    assert_eq!(names, ["route-1", "rest"]);
    assert!(config.routes[0].topics[0].matches("audit.login") && config.routes[0].topics[1].matches("log"));
    assert!(!format!("{config:?}").contains("c4nary"));
    assert_eq!(from_file("[[route]]\ntopics = ['a']\n").unwrap_err(), "FILE: route.0.transport is missing");
    assert_eq!(
        from_file("[[route]]\ntopics = ['a*b']\ntransport = 'memory:'\n").unwrap_err(),
        "FILE: route.0.topics.0: topic has the character '*' at byte 1; allowed: visible ASCII without * > \" ' ` \\"
    );
}

#[tokio::test]
async fn what_is_missing_says_where_to_set_it() {
    let error = Config::default().relay().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "no store URL: set store.url in the configuration or OUTBOX_STORE_URL in the environment"
    );
    let error = from_file("store.table_prefix = 'a\"b'").unwrap().table_names().unwrap_err();
    assert!(error.to_string().starts_with("the table prefix \"a\\\"b\" has the character '\"'"), "{error}");
}

#[tokio::test]
#[cfg(all(feature = "memory", feature = "sqlx-sqlite"))]
async fn a_diagnosis_looks_at_every_part_and_says_what_to_do() {
    use outbox_core::Severity;

    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite://{}?mode=rwc", folder.path().join("x.db").display());
    let routes = "[[route]]\nname = 'audit'\ntopics = ['audit']\ntransport = 'carrier-pigeon://u:c4nary@h'\n";
    let config = from_file(&format!("store.url = '{store}'\ntransport.url = 'memory:'\n{routes}")).unwrap();

    let found = config.diagnose(&[]).await;
    let parts: Vec<_> = found.iter().map(|part| (part.part.as_str(), part.severity())).collect();
    assert_eq!(parts, [("store", Severity::Error), ("audit", Severity::Error), ("transport", Severity::Ok)]);
    let remedies: Vec<_> = found[0].findings.iter().filter_map(|finding| finding.remedy.as_deref()).collect();
    assert_eq!(remedies, ["run `outbox migrate`"]);
    assert!(found[1].findings[0].detail.contains("`carrier-pigeon`"), "{found:?}");
    assert!(!format!("{found:?}").contains("c4nary"));

    config.connect_store().await.unwrap().migrate().await.unwrap();
    assert_eq!(config.diagnose(&[]).await[0].severity(), Severity::Ok);

    let nothing = Config::default().diagnose(&[]).await;
    assert!(nothing.iter().all(|part| part.severity() == Severity::Error), "{nothing:?}");
}
