use super::round_trip::{SAMPLES, sources, toml};
use super::{Toml, from_file, seconds, setting, shown, variables};
use crate::config::names::variable;
use crate::config::{Config, ConfigOrigin};

#[test]
fn each_key_obeys_code_before_the_environment_before_the_file_before_the_default() {
    for (key, first, second, _) in SAMPLES {
        let default = setting(&Config::default(), key);
        assert_eq!(default.origin, ConfigOrigin::Default, "{key}");
        let file = Toml::new(&toml(key, first));
        let sources = || sources(key).file(file.path());
        let environment = || variables(&[(&variable(key), second)]);

        let loaded = sources().load().unwrap();
        assert_eq!(shown(&loaded, key), format!("{first} from {}", file.path().display()));
        let loaded = sources().variables(environment()).load().unwrap();
        assert_eq!(shown(&loaded, key), format!("{second} from {}", variable(key)));
        // Whatever the order of the calls.
        let loaded = Config::sources().set(*key, *first).variables(environment()).file(file.path());
        let loaded = loaded.set_if_some("wakeups.service", (*key == "wakeups.redis_url").then_some("x"));
        assert_eq!(shown(&loaded.load().unwrap(), key), format!("{first} from code"));
    }
}

#[test]
fn a_second_name_has_the_place_of_its_source_and_not_one_of_its_own() {
    let file = Toml::new("poll_interval = '7s'\nbatch_size = 1\nrelay.listen = false\n");
    let loaded =
        file.sources().variables(variables(&[("OUTBOX_RELAY_POLL_IDLE", "8s"), ("OUTBOX_BATCH_SIZE", "2")]));
    let loaded = loaded.set("relay.batch_size", "3").load().unwrap();
    assert_eq!(shown(&loaded, "relay.poll.idle"), "8s from OUTBOX_RELAY_POLL_IDLE");
    assert_eq!(shown(&loaded, "relay.batch_size"), "3 from code");
    assert_eq!(shown(&loaded, "wakeups.listen"), format!("false from {}", file.path().display()));
}

#[test]
fn both_names_of_a_key_in_one_source_are_an_error() {
    assert_eq!(
        from_file("batch_size = 1\nrelay.batch_size = 1\n").unwrap_err(),
        "FILE: relay.batch_size is set twice, also as batch_size; write it once"
    );
    let both = [("OUTBOX_RELAY_BATCH_SIZE", "1"), ("OUTBOX_BATCH_SIZE", "2")];
    assert_eq!(
        super::from_environment(&both).unwrap_err(),
        "OUTBOX_BATCH_SIZE: relay.batch_size is set twice, also as OUTBOX_RELAY_BATCH_SIZE; write it once"
    );
    let last = Config::sources().set("batch_size", "1").set("batch_size", "2").load().unwrap();
    assert_eq!(last.relay.batch_size, 2, "the last call wins");
}

#[test]
fn a_list_is_replaced_and_not_joined() {
    let file = Toml::new("relay.retry.schedule = ['1s', '2s']\n");
    let loaded = file.sources().variables(variables(&[("OUTBOX_RETRY_SCHEDULE", "3s")])).load().unwrap();
    assert_eq!(loaded.relay.retry.schedule, [seconds(3)]);
}

#[test]
fn an_empty_variable_is_not_set() {
    let loaded =
        super::from_environment(&[("OUTBOX_STORE_URL", ""), ("ENVIRONMENT", ""), ("OUTBOX_PROFILE", "")]);
    assert_eq!(loaded, Ok(Config::default()));
}

#[test]
fn a_file_must_be_there_if_it_was_named() {
    let missing = tempfile::tempdir().unwrap().path().join("none.toml");
    assert!(Config::sources().file_if_exists(&missing).load().is_ok());
    let error = Config::sources().file(&missing).load().unwrap_err();
    assert_eq!((error.origin(), error.key()), (ConfigOrigin::File(missing), None));
}
