use std::time::Duration;

use super::{Toml, from_code, from_environment, from_file, shown, variables};
use crate::config::{Config, ConfigProfile, ConfigWarning};

fn chosen(environment: &[(&str, &str)], file: &str) -> Option<ConfigProfile> {
    let file = Toml::new(file);
    file.sources().variables(variables(environment)).load().unwrap().profile
}

#[test]
fn a_profile_sets_the_longest_interval_and_the_metrics() {
    for (profile, idle, metrics) in
        [("testing", 100, false), ("development", 1_000, true), ("production", 5_000, true)]
    {
        let config = from_environment(&[("OUTBOX_PROFILE", profile)]).unwrap();
        let poll = config.relay.poll;
        assert_eq!((poll.idle, config.metrics.enabled), (Duration::from_millis(idle), metrics), "{profile}");
        assert!(poll.busy <= poll.idle && poll.calm <= poll.idle, "{profile}");
        assert!(shown(&config, "relay.poll.idle").ends_with(&format!(" from profile {profile}")));
        assert_eq!(shown(&config, "profile"), format!("{profile} from OUTBOX_PROFILE"));
    }
}

#[test]
fn without_a_profile_there_are_the_defaults() {
    let config = Config::sources().load().unwrap();
    assert_eq!(config, Config::default());
    assert_eq!((config.profile, config.metrics.enabled), (None, false));
}

#[test]
fn everything_that_says_something_wins_over_a_profile() {
    let file = Toml::new("poll_interval = '3s'\nprofile = 'testing'\n");
    let config = file.sources().variables(variables(&[("OUTBOX_METRICS_ENABLED", "true")])).load().unwrap();
    assert_eq!(shown(&config, "relay.poll.idle"), format!("3s from {}", file.path().display()));
    assert_eq!(shown(&config, "metrics.enabled"), "true from OUTBOX_METRICS_ENABLED");
}

#[test]
fn ours_is_asked_first_then_that_of_all_then_the_file() {
    use ConfigProfile::{Development, Production, Testing};
    let (ours, all) = (("OUTBOX_PROFILE", "dev"), ("ENVIRONMENT", "prod"));
    assert_eq!(chosen(&[all, ours], "profile = 'test'"), Some(Development));
    assert_eq!(chosen(&[all], "profile = 'test'"), Some(Production));
    assert_eq!(chosen(&[], "profile = 'test'"), Some(Testing));
    assert_eq!(chosen(&[], ""), None);
    let code = Config::sources().variables(variables(&[ours])).set("profile", "testing").load().unwrap();
    assert_eq!(code.profile, Some(Testing));
}

#[test]
fn the_usual_words_are_known_in_any_case() {
    use ConfigProfile::{Development, Production, Testing};
    for (word, profile) in [
        ("test", Testing),
        ("Testing", Testing),
        ("dev", Development),
        ("DEVELOPMENT", Development),
        ("prod", Production),
        ("production", Production),
        ("Staging", Production),
    ] {
        assert_eq!(chosen(&[("ENVIRONMENT", word)], ""), Some(profile), "{word}");
        assert_eq!(chosen(&[("OUTBOX_PROFILE", word)], ""), Some(profile), "{word}");
    }
}

#[test]
fn another_word_is_an_error_in_ours_and_a_warning_in_that_of_all() {
    let allowed = "allowed: testing (or test), development (dev), production (prod, staging)";
    assert_eq!(
        from_environment(&[("OUTBOX_PROFILE", "qa"), ("ENVIRONMENT", "dev")]).unwrap_err(),
        format!("OUTBOX_PROFILE: profile is \"qa\"; {allowed}")
    );
    assert_eq!(from_file("profile = 'qa'").unwrap_err(), format!("FILE: profile is \"qa\"; {allowed}"));
    assert_eq!(from_code("profile", "qa").unwrap_err(), format!("code: profile is \"qa\"; {allowed}"));

    let config = from_environment(&[("ENVIRONMENT", "qa")]).unwrap();
    assert_eq!(config.warnings, [ConfigWarning::UnknownEnvironment { value: "qa".to_owned() }]);
    assert_eq!(
        config.warnings[0].to_string(),
        "ENVIRONMENT is \"qa\", which is no profile: production is assumed; known are test, testing, dev, development, \
         prod, production, staging"
    );
    assert_eq!(shown(&config, "profile"), "production from ENVIRONMENT");
    assert!(config.metrics.enabled);
}
