use super::{from_code, from_environment, from_file};
use crate::config::{Config, ConfigError, ConfigOrigin, ConfigWarning};

#[test]
fn an_unknown_key_names_itself_what_is_like_it_and_what_is_allowed() {
    assert_eq!(
        from_file("[relay.poll]\nidel = '5s'\n").unwrap_err(),
        "FILE: unknown key relay.poll.idel; did you mean relay.poll.idle? allowed are busy, calm, idle"
    );
    assert_eq!(
        from_file("[stroe]\nurl = 'c4nary'\n").unwrap_err(),
        "FILE: unknown key stroe; allowed are profile, enabled, processor_enabled, auto_start, mode, store, transport, \
         relay, batch_size, poll_interval, retry_schedule, retry_jitter, max_attempts, wakeups, metrics, inbox, route, \
         routes"
    );
    assert!(
        from_file("enabeld = true")
            .unwrap_err()
            .starts_with("FILE: unknown key enabeld; did you mean enabled? allowed are profile, ")
    );
    assert_eq!(
        from_environment(&[("OUTBOX_STORE_URI", "sqlite:x")]).unwrap_err(),
        "unknown variable OUTBOX_STORE_URI; did you mean OUTBOX_STORE_URL? allowed are OUTBOX_STORE_URL, \
         OUTBOX_STORE_SCHEMA, OUTBOX_STORE_TABLE_PREFIX"
    );
    assert_eq!(
        from_environment(&[("OUTBOX_INBOX_XYZ", "1")]).unwrap_err(),
        "unknown variable OUTBOX_INBOX_XYZ; allowed are OUTBOX_INBOX_RETENTION, OUTBOX_INBOX_OLD_MESSAGES, \
         OUTBOX_INBOX_BROKER_RETENTION"
    );
    let code = from_code("relay.batchsize", "1").unwrap_err();
    assert!(
        code.starts_with(
            "code: unknown key relay.batchsize; did you mean relay.batch_size? allowed are profile, "
        ),
        "{code}"
    );
    let error = Config::sources().set("relay.batchsize", "1").load().unwrap_err();
    assert_eq!((error.origin(), error.key()), (ConfigOrigin::Code, Some("relay.batchsize")));
    assert!(
        matches!(error, ConfigError::UnknownKey { nearest: Some(nearest), .. } if nearest == "relay.batch_size")
    );
}

#[test]
fn a_misspelt_variable_is_an_error_also_outside_of_the_sections() {
    for (name, meant) in [
        ("OUTBOX_ENABELD", "OUTBOX_ENABLED"),
        ("OUTBOX_PROCESOR_ENABLED", "OUTBOX_PROCESSOR_ENABLED"),
        ("OUTBOX_POLLING_INTERVAL", "OUTBOX_POLL_INTERVAL"),
        ("OUTBOX_MAX_ATTEMPS", "OUTBOX_MAX_ATTEMPTS"),
    ] {
        let error = from_environment(&[(name, "1")]).unwrap_err();
        assert!(
            error.starts_with(&format!("unknown variable {name}; did you mean {meant}? allowed are ")),
            "{error}"
        );
    }
}

#[test]
fn a_variable_that_sets_nothing_is_a_warning() {
    let config = from_environment(&[("OUTBOX_FLAVOUR", "x"), ("OUTBOX_", "x"), ("OTHER", "x")]).unwrap();
    let names: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        names,
        [
            "the variable OUTBOX_FLAVOUR sets nothing: no key of the outbox has this name",
            "the variable OUTBOX_ sets nothing: no key of the outbox has this name"
        ]
    );
    assert!(
        matches!(&config.warnings[0], ConfigWarning::UnknownVariable { name } if name == "OUTBOX_FLAVOUR")
    );
}

#[test]
fn variables_of_others_are_left_alone() {
    for name in [
        "OUTBOX_TEST_POSTGRES_URL",
        "OUTBOX_REQUIRE_SERVICES",
        "OUTBOX_UPDATE_README",
        "OUTBOX_SIM_SEED",
        "OUTBOX_PORT",
        "OUTBOX_PORT_80_TCP_ADDR",
        "OUTBOX_SERVICE_HOST",
        "OUTBOX_SERVICE_PORT_HTTP",
        "OUTBOX_RELAY_PORT",
        "OUTBOX_RELAY_PORT_80_TCP_ADDR",
        "OUTBOX_RELAY_SERVICE_HOST",
        "OUTBOX_WAKEUPS_SERVICE_PORT",
    ] {
        assert_eq!(from_environment(&[(name, "x")]), Ok(Config::default()), "{name}");
    }
}

#[test]
fn a_wrong_value_names_its_key_itself_and_what_is_allowed() {
    let duration = "allowed: a duration, for example \"30s\", \"500ms\" or \"7d\"";
    for (toml, expected) in [
        ("relay.batch_size = 'many'", "relay.batch_size is \"many\"; allowed: a whole number, 1 or more".to_owned()),
        ("batch_size = 'many'", "batch_size is \"many\"; allowed: a whole number, 1 or more".to_owned()),
        ("batch_size = -1", "batch_size is -1; allowed: a whole number, 1 or more".to_owned()),
        ("batch_size = '17'", "batch_size is \"17\"; allowed: a whole number, 1 or more".to_owned()),
        ("max_attempts = 70000", "max_attempts is 70000; allowed: a whole number, at most 65535".to_owned()),
        ("relay.batch_size.x = 1", "relay.batch_size is a table; allowed: a whole number, 1 or more".to_owned()),
        ("relay.lease_ttl = 30", format!("relay.lease_ttl is 30; {duration}")),
        ("relay.lease_ttl = 'soon'", format!("relay.lease_ttl is \"soon\"; {duration}")),
        ("relay.listen = 'yes'", "relay.listen is \"yes\"; allowed: true or false".to_owned()),
        ("store.url = ['x']", "store.url is [\"x\"]; allowed: a URL, as a text".to_owned()),
        ("store.url = 7", "store.url is 7; allowed: a URL, as a text".to_owned()),
        ("relay.on_dead.default = 'stop'", "relay.on_dead.default is \"stop\"; allowed: park, skip or block".to_owned()),
        ("mode = 'indirect'", "mode is \"indirect\"; allowed: transactional, direct_first or direct".to_owned()),
        ("inbox.old_messages = 'x'", "inbox.old_messages is \"x\"; allowed: park or process".to_owned()),
        ("relay.retry.jitter = 'x'", "relay.retry.jitter is \"x\"; allowed: a fraction from 0 to 1".to_owned()),
        (
            "metrics.listen = 'localhost'",
            "metrics.listen is \"localhost\"; allowed: an address and a port, for example \"127.0.0.1:9464\" or \
             \"[::]:9464\""
                .to_owned(),
        ),
        (
            "retry_schedule = ['1s', 'x']",
            "retry_schedule is [\"1s\", \"x\"]; allowed: a list of durations, for example [\"5s\", \"1min\"]; in the \
             environment separated by commas"
                .to_owned(),
        ),
        (
            "retry_schedule = []",
            "retry_schedule is []; allowed: a list of durations, for example [\"5s\", \"1min\"]; in the environment \
             separated by commas"
                .to_owned(),
        ),
        (
            "relay.on_dead.rules = ['a*b=skip']",
            "relay.on_dead.rules is [\"a*b=skip\"]; allowed: a list of topics and policies, for example \
             [\"audit.*=skip\"], or tables with topics and policy; policies are park, skip and block (topic has the \
             character '*' at byte 1; allowed: visible ASCII without * > \" ' ` \\)"
                .to_owned(),
        ),
        (
            "[[relay.on_dead.rules]]\ntopics = 'a'",
            "relay.on_dead.rules is [a table]; allowed: a list of topics and policies, for example [\"audit.*=skip\"], \
             or tables with topics and policy; policies are park, skip and block"
                .to_owned(),
        ),
    ] {
        assert_eq!(from_file(toml).unwrap_err(), format!("FILE: {expected}"));
    }
    assert_eq!(
        from_environment(&[("OUTBOX_BATCH_SIZE", "many")]).unwrap_err(),
        "OUTBOX_BATCH_SIZE: relay.batch_size is \"many\"; allowed: a whole number, 1 or more"
    );
    assert_eq!(
        from_environment(&[("OUTBOX_POLL_INTERVAL", "5")]).unwrap_err(),
        format!("OUTBOX_POLL_INTERVAL: relay.poll.idle is \"5\"; {duration}")
    );
    assert_eq!(
        from_code("enabled", "maybe").unwrap_err(),
        "code: enabled is \"maybe\"; allowed: true or false"
    );
    let long = format!("relay.batch_size = '{}'", "x".repeat(100));
    assert_eq!(
        from_file(&long).unwrap_err(),
        format!("FILE: relay.batch_size is \"{}\"…; allowed: a whole number, 1 or more", "x".repeat(64))
    );
}

#[test]
fn a_file_that_is_no_toml_names_the_line() {
    assert!(from_file("[store]\nurl = 'x").unwrap_err().starts_with("FILE: line 2: "));
}
