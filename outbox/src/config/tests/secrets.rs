use super::{Toml, from_environment, from_file, variables};
use crate::config::redact::shown_url;
use crate::config::{Config, ConfigSources};

const SECRET: &str = "c4nary";

/// URLs with a password where it belongs, and where it does not.
const URLS: &[&str] = &[
    "postgres://u:c4nary@h/d?password=c4nary&sslmode=require",
    "postgres://u:c4nary@h/d",
    "postgres://h/d?user=u&password=c4nary",
    "nats://c4nary@h",
    "nats://:c4nary@h?stream=ORDERS&token=c4nary",
    "kafka://u:c4nary@a:1,b:2?sasl=plain",
    "redis://:c4nary@h/0",
    "redis://u:p?c4nary@h",
    "redis://u:p/c4nary@h",
    "redis://u:p#c4nary@h",
    "redis://u:1?c4nary@h",
    "redis://u:1&c4nary@h",
    "redis://u:a?mode=c4nary@h",
    "redis://u:a?mode=x&c4nary@h",
    "redis://u:1?stream=1&c4nary@h",
    "redis://u:1?mode=c4nary@h",
    "redis://u:1?mode=c4nary&x=@h",
    "redis://u:1?stream=c4nary/@h",
    "sqlite:x.db?mode=c4nary@h",
    "redis://u:%ffc4nary@h",
    "amqp://u:c4nary",
    "amqp:c4nary",
    "memory:c4nary",
    "sqlite:x.db?key=c4nary",
    "sqlite://u:c4nary@x.db",
    "c4nary",
    "c4nary@h",
    "",
];

#[test]
fn a_url_is_shown_without_what_may_be_secret() {
    for (url, shown) in [
        (
            "postgres://app:c4nary@localhost/shop?sslmode=require&x=c4nary",
            "postgres://app:***@localhost/shop?sslmode=require&…",
        ),
        ("NATS://c4nary@h:4222?stream=ORDERS", "nats://***@h:4222?stream=ORDERS"),
        ("redis://:c4nary@[::1]:6379/2", "redis://***@[::1]:6379/2"),
        ("kafka://a:1,b:2", "kafka://a:1,b:2"),
        ("amqps://u:c4nary@h/", "amqps://u:***@h/"),
        ("stdout:", "stdout:"),
        ("memory://", "memory://"),
        ("sqlite://shop.db?mode=rwc", "sqlite://shop.db?mode=rwc"),
        ("sqlite:shop.db", "sqlite:shop.db"),
        ("memory:c4nary", "memory:…"),
        ("c4nary", ":…"),
    ] {
        assert_eq!(shown_url(url), shown);
    }
    for url in URLS {
        let shown = shown_url(url);
        assert!(!shown.contains(SECRET), "{url}: {shown}");
    }
}

#[test]
fn nothing_that_is_shown_has_a_password() {
    for url in URLS.iter().filter(|url| !url.is_empty()) {
        let all = [
            ("OUTBOX_STORE_URL", *url),
            ("OUTBOX_TRANSPORT_URL", url),
            ("OUTBOX_ROUTES_A_TOPICS", "a"),
            ("OUTBOX_ROUTES_A_URL", url),
            ("OUTBOX_WAKEUPS_SERVICE", "shop"),
        ];
        let config = from_environment(&all).unwrap();
        let settings = config.settings();
        let texts: Vec<_> =
            settings.iter().map(|setting| format!("{} {}", setting.value, setting.origin)).collect();
        let json = serde_json::to_string(&settings).unwrap();
        let all = format!("{config:?} {config:#?} {settings:?} {json} {texts:?}");
        assert!(!all.contains(SECRET), "{url}: {all}");

        let redis =
            from_environment(&[("OUTBOX_WAKEUPS_SERVICE", "shop"), ("OUTBOX_WAKEUPS_REDIS_URL", url)]);
        let shown = match redis {
            Ok(config) => format!("{config:?} {:?}", config.settings()),
            Err(error) => error,
        };
        assert!(!shown.contains(SECRET), "{url}: {shown}");
    }
    let sources = ConfigSources::default().set("store.url", SECRET).variables(variables(&[("X", SECRET)]));
    assert!(!format!("{sources:?}").contains(SECRET));
}

#[test]
fn no_error_has_the_password_of_a_url() {
    for broken in [
        "[store]\nurl = 'postgres://u:c4nary@h",
        "[store]\nurl = 'postgres://u:c4nary@h/d' x",
        "[store]\nurl = postgres://u:c4nary@h/d\n",
        "url = 'c4nary'",
        "store.url = ['postgres://u:c4nary@h']",
        "store.url = { password = 'c4nary' }",
        "relay.batch_size = 'postgres://u:c4nary@h'",
        "relay.label = ['u:c4nary@h']",
        "metrics.listen = 'u:c4nary@h:1'",
        "[[route]]\ntopics = ['a']\nurl = ['nats://c4nary@h']",
        "[[route]]\ntopics = ['nats://c4nary@h*x']\nurl = 'memory:'",
        "[[route]]\nname = 'a'\nurls = 'nats://c4nary@h'",
        "route = 'nats://c4nary@h'",
        "'postgres://u:c4nary@h/d' = 1",
        "[store]\n'postgres://u:c4nary@h/d' = 1",
        "[[route]]\nname = 'nats://u:c4nary@h'\ntopics = ['a']",
        "[[route]]\n'nats://u:c4nary@h' = 'a'",
        "[routes.'nats://u:c4nary@h']\ntopics = ['a']",
    ] {
        let text = from_file(broken).unwrap_err();
        assert!(!text.contains(SECRET), "{text}");
        let file = Toml::new(broken);
        let debug = format!("{:?}", file.sources().load().unwrap_err());
        assert!(!debug.contains(SECRET), "{debug}");
    }
    let error = Config::sources().set("mode", "nats://c4nary@h").load().unwrap_err().to_string();
    assert_eq!(error, "code: mode is \"nats://***@h\"; allowed: transactional, direct_first or direct");
    let error = Config::sources().set("nats://u:c4nary@h", "x").load().unwrap_err().to_string();
    assert!(!error.contains(SECRET), "{error}");
}

#[test]
fn no_warning_has_a_password() {
    let config = from_environment(&[("ENVIRONMENT", "postgres://u:c4nary@h")]).unwrap();
    assert!(!format!("{:?}", config.warnings).contains(SECRET), "{:?}", config.warnings);
    assert_eq!(config.warnings.len(), 1);
}
