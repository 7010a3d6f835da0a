use std::time::Duration;

use outbox_relay::OnDead;

use super::{from_environment, seconds, setting, variables};
use crate::config::keys::KEYS;
use crate::config::names::variable;
use crate::config::setting::SettingValue;
use crate::config::tests::Toml;
use crate::config::{Config, ConfigOrigin, ConfigProfile, ConfigSources, DeliveryMode};
use outbox_relay::OldMessages;

/// A key, two values for it as in the environment, and what the first of them does.
pub(super) type Sample = (&'static str, &'static str, &'static str, fn(&Config) -> bool);

#[rustfmt::skip]
pub(super) const SAMPLES: &[Sample] = &[
    ("profile", "testing", "production", |c| c.profile == Some(ConfigProfile::Testing)),
    ("enabled", "false", "true", |c| !c.enabled),
    ("processor_enabled", "false", "true", |c| !c.processor_enabled),
    ("auto_start", "false", "true", |c| !c.auto_start),
    ("mode", "direct_first", "direct", |c| c.mode == DeliveryMode::DirectFirst),
    ("store.url", "sqlite:x.db", "sqlite:y.db", |c| c.store.url.as_deref() == Some("sqlite:x.db")),
    ("store.schema", "app", "12", |c| c.store.schema.as_deref() == Some("app")),
    ("store.table_prefix", "7_", "x_", |c| c.store.table_prefix == "7_"),
    ("transport.url", "stdout:", "memory:", |c| c.transport.url.as_deref() == Some("stdout:")),
    ("relay.label", "12", "relay-1", |c| c.relay.label == "12"),
    ("relay.batch_size", "17", "18", |c| c.relay.batch_size == 17),
    ("relay.concurrency", "17", "18", |c| c.relay.concurrency == 17),
    ("relay.window_rows", "17", "18", |c| c.relay.window_rows == 17),
    ("relay.window_bytes", "17", "18", |c| c.relay.window_bytes == 17),
    ("relay.window_per_key", "17", "18", |c| c.relay.window_per_key == 17),
    ("relay.max_held_keys", "17", "18", |c| c.relay.max_held_keys == 17),
    ("relay.poll.busy", "70ms", "1s 20ms", |c| c.relay.poll.busy == Duration::from_millis(70)),
    ("relay.poll.calm", "3s", "200us", |c| c.relay.poll.calm == seconds(3)),
    ("relay.poll.idle", "7s", "1h", |c| c.relay.poll.idle == seconds(7)),
    ("relay.retry.schedule", "1s, 2m", "3h", |c| c.relay.retry.schedule == [seconds(1), seconds(120)]),
    ("relay.retry.jitter", "0.5", "1", |c| (c.relay.retry.jitter - 0.5).abs() < f64::EPSILON),
    ("relay.retry.max_attempts", "17", "18", |c| c.relay.retry.max_attempts == 17),
    ("relay.retry.max_unknown", "17", "0", |c| c.relay.retry.max_unknown == 17),
    ("relay.on_dead.default", "block", "skip", |c| c.relay.on_dead.default == OnDead::Block),
    ("relay.on_dead.rules", "a=b.*=skip, *=block", "x=park", |c| {
        let rules = c.relay.on_dead.rules.iter();
        rules.map(|(topics, policy)| format!("{topics} {policy:?}")).eq(["a=b.* Skip", "* Block"])
    }),
    ("relay.sweep_interval", "7s", "8s", |c| c.relay.sweep_interval == seconds(7)),
    ("relay.backstop_interval", "7s", "8s", |c| c.relay.backstop_interval == seconds(7)),
    ("relay.lease_ttl", "2m", "3m", |c| c.relay.lease_ttl == seconds(120)),
    ("relay.lease_margin", "7s", "6s", |c| c.relay.lease_margin == seconds(7)),
    ("relay.publish_timeout", "7s", "8s", |c| c.relay.publish_timeout == seconds(7)),
    ("relay.shutdown_timeout", "7s", "0s", |c| c.relay.shutdown_timeout == seconds(7)),
    ("relay.breaker_first", "7s", "8s", |c| c.relay.breaker_first == seconds(7)),
    ("relay.breaker_longest", "7s", "8s", |c| c.relay.breaker_longest == seconds(7)),
    ("wakeups.in_process", "false", "true", |c| !c.wakeups.in_process),
    ("wakeups.listen", "false", "true", |c| !c.wakeups.listen),
    ("wakeups.redis_url", "redis://a", "rediss://b:1", |c| c.wakeups.redis_url.as_deref() == Some("redis://a")),
    ("wakeups.service", "shop", "bill.ing-1_2", |c| c.wakeups.service.as_deref() == Some("shop")),
    ("metrics.enabled", "true", "false", |c| c.metrics.enabled),
    ("metrics.listen", "0.0.0.0:80", "[::1]:9464", |c| c.metrics.listen == ([0, 0, 0, 0], 80).into()),
    ("inbox.retention", "30days", "1day", |c| c.inbox.retention == seconds(30 * 86_400)),
    ("inbox.old_messages", "process", "park", |c| c.inbox.old_messages == OldMessages::Process),
    ("inbox.broker_retention", "2days", "1day", |c| c.inbox.broker_retention == Some(seconds(2 * 86_400))),
];

/// `key = value`, with quotes where TOML wants them.
pub(super) fn toml(key: &str, text: &str) -> String {
    let quoted = |text: &str| format!("'{}'", text.trim());
    let known = KEYS.iter().find(|known| known.names().any(|name| name == key)).unwrap();
    let value = match known.read(&mut Config::default()) {
        SettingValue::Flag(_) | SettingValue::Number(_) | SettingValue::Fraction(_) => text.to_owned(),
        SettingValue::List(_) => format!("[{}]", text.split(',').map(quoted).collect::<Vec<_>>().join(", ")),
        SettingValue::None | SettingValue::Text(_) => quoted(text),
    };
    format!("{key} = {value}\n")
}

/// What another key asks for.
pub(super) fn sources(key: &str) -> ConfigSources {
    let service = (key == "wakeups.redis_url").then_some("shop");
    Config::sources().set_if_some("wakeups.service", service)
}

#[test]
fn every_key_is_set_read_and_shown_under_each_of_its_names() {
    let sampled: Vec<_> = SAMPLES.iter().map(|(key, ..)| *key).collect();
    let known: Vec<_> = KEYS.iter().map(|key| key.name).collect();
    assert_eq!(sampled, known);
    for ((key, first, second, has_effect), known) in SAMPLES.iter().zip(KEYS) {
        assert!(!has_effect(&Config::default()), "{key}: the value is the default");
        for name in known.names() {
            for text in [first, second] {
                let file = Toml::new(&toml(name, text));
                let by_file = sources(key).file(file.path()).load().unwrap();
                let by_variable =
                    sources(key).variables(variables(&[(&variable(name), text)])).load().unwrap();
                let by_code = sources(key).set(name, *text).load().unwrap();
                for (config, origin) in [
                    (&by_file, ConfigOrigin::File(file.path())),
                    (&by_variable, ConfigOrigin::Variable(variable(name))),
                    (&by_code, ConfigOrigin::Code),
                ] {
                    let shown = setting(config, key);
                    assert_eq!(
                        (shown.value.to_string(), &shown.origin),
                        ((*text).to_owned(), &origin),
                        "{name}"
                    );
                    assert_eq!(has_effect(config), text == first, "{name} from {origin}");
                    // What is shown can be written again.
                    let again = sources(key).set(name, shown.value.to_string()).load().unwrap();
                    assert_eq!(setting(&again, key).value, shown.value, "{name}");
                }
            }
        }
    }
}

#[test]
fn what_is_changed_after_loading_comes_from_code() {
    let mut config = from_environment(&[("OUTBOX_BATCH_SIZE", "17")]).unwrap();
    config.relay.batch_size = 18;
    config.wakeups.listen = false;
    config.store.url = Some("sqlite:x.db".to_owned());
    for (key, value) in
        [("relay.batch_size", "18"), ("wakeups.listen", "false"), ("store.url", "sqlite:x.db")]
    {
        assert_eq!(super::shown(&config, key), format!("{value} from code"));
    }
    assert_eq!(super::shown(&config, "relay.concurrency"), "4 from default");
    assert_eq!(super::shown(&config, "transport.url"), "- from default");
}

#[test]
fn settings_are_json_with_their_types() {
    let sources = Config::sources().variables(variables(&[("OUTBOX_BATCH_SIZE", "17")]));
    let config = sources.set("relay.retry.schedule", "1s,2s").set("profile", "testing").load().unwrap();
    let json = |key| serde_json::to_string(&setting(&config, key)).unwrap();
    assert_eq!(
        json("relay.batch_size"),
        r#"{"key":"relay.batch_size","value":17,"source":"variable","name":"OUTBOX_BATCH_SIZE"}"#
    );
    assert_eq!(
        json("relay.retry.schedule"),
        r#"{"key":"relay.retry.schedule","value":["1s","2s"],"source":"code"}"#
    );
    assert_eq!(json("store.url"), r#"{"key":"store.url","value":null,"source":"default"}"#);
    assert_eq!(
        json("relay.poll.idle"),
        r#"{"key":"relay.poll.idle","value":"100ms","source":"profile","name":"testing"}"#
    );
    assert_eq!(
        json("relay.poll.calm"),
        r#"{"key":"relay.poll.calm","value":"100ms","source":"follows","name":"relay.poll.idle"}"#
    );
    assert_eq!(json("relay.retry.jitter"), r#"{"key":"relay.retry.jitter","value":0.1,"source":"default"}"#);
}
