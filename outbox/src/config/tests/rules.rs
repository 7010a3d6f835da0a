use std::time::Duration;

use super::{from_environment, from_file, seconds, shown};
use crate::config::{ConfigWarning, DeliveryMode};

#[test]
fn what_would_be_refused_at_the_start_is_refused_at_once_where_it_was_written() {
    assert_eq!(
        from_file("relay.lease_margin = '1h'").unwrap_err(),
        "FILE: relay.lease_margin is 3600s; it must be shorter than lease_ttl (30s)"
    );
    assert_eq!(
        from_environment(&[("OUTBOX_BATCH_SIZE", "0")]).unwrap_err(),
        "OUTBOX_BATCH_SIZE: relay.batch_size is 0; at least 1 is needed"
    );
    assert_eq!(
        from_file("poll_interval = '0s'").unwrap_err(),
        "FILE: poll_interval is 0 s; it must be longer than that"
    );
    assert_eq!(
        from_file("retry_jitter = 1.5").unwrap_err(),
        "FILE: retry_jitter is 1.5; a fraction from 0 to 1 is needed"
    );
    // Nobody wrote it, and what somebody wrote leaves no room for it.
    assert!(
        from_file("relay.lease_ttl = '12s'")
            .unwrap_err()
            .starts_with("default: relay.publish_timeout is 10s; ")
    );
}

#[test]
fn the_short_intervals_follow_the_longest_one_unless_they_are_set() {
    let config = from_environment(&[("OUTBOX_POLL_INTERVAL", "50ms")]).unwrap();
    let poll = config.relay.poll;
    assert_eq!([poll.busy, poll.calm, poll.idle], [Duration::from_millis(50); 3]);
    assert_eq!(shown(&config, "relay.poll.busy"), "50ms from follows relay.poll.idle");
    let config = from_file("relay.poll.busy = '2s'\npoll_interval = '1h'").unwrap();
    assert_eq!((config.relay.poll.busy, config.relay.poll.calm), (seconds(2), seconds(1)));
    assert_eq!(
        from_file("relay.poll.calm = '2s'\nprofile = 'testing'").unwrap_err(),
        "FILE: relay.poll.calm is 2s; it must be no longer than relay.poll.idle (100ms)"
    );
}

#[test]
fn without_an_outbox_the_mode_is_direct() {
    let config = from_environment(&[("OUTBOX_ENABLED", "false"), ("OUTBOX_MODE", "direct_first")]).unwrap();
    assert_eq!(config.mode, DeliveryMode::Direct);
    assert_eq!(shown(&config, "mode"), "direct from follows enabled");
    let config = from_environment(&[("OUTBOX_ENABLED", "true"), ("OUTBOX_MODE", "direct_first")]).unwrap();
    assert_eq!(config.mode, DeliveryMode::DirectFirst);
    let config = from_environment(&[("OUTBOX_ENABLED", "false"), ("OUTBOX_MODE", "direct")]).unwrap();
    assert_eq!(shown(&config, "mode"), "direct from OUTBOX_MODE");
}

#[test]
fn hints_by_redis_need_a_url_of_redis_and_a_service() {
    assert_eq!(
        from_environment(&[("OUTBOX_WAKEUPS_REDIS_URL", "redis://u:c4nary@h")]).unwrap_err(),
        "OUTBOX_WAKEUPS_REDIS_URL: wakeups.service is missing: wakeups.redis_url needs it"
    );
    assert_eq!(
        from_file("[wakeups]\nredis_url = 'nats://u:c4nary@h'\nservice = 'shop'").unwrap_err(),
        "FILE: wakeups.redis_url is nats://u:***@h; allowed: a URL that begins with redis:// or rediss://"
    );
    assert_eq!(
        from_file("wakeups.service = 'a:b'").unwrap_err(),
        "FILE: wakeups.service is \"a:b\"; allowed: 1 to 128 letters, digits, - _ ."
    );
}

#[test]
fn an_inbox_that_forgets_too_early_is_a_warning() {
    assert_eq!(from_file("").unwrap().warnings, []);
    let config = from_file("[inbox]\nretention = '7days'\nbroker_retention = '7days'").unwrap();
    // 5 s + 15 s + 1 min + 5 min + 15 min, and a tenth more.
    let longest_retry = seconds(1_408);
    assert_eq!(
        config.warnings,
        [ConfigWarning::ShortRetention {
            retention: seconds(7 * 86_400),
            longest_retry,
            broker_retention: seconds(7 * 86_400),
        }]
    );
    assert_eq!(
        config.warnings[0].to_string(),
        "inbox.retention is 7days, shorter than the longest retry of the relay (23m 28s) and the retention of the broker \
         (7days) together: a copy that comes later would be processed again"
    );
    let just = from_file("[inbox]\nretention = '7days 23m 28s'\nbroker_retention = '7days'").unwrap();
    assert_eq!(just.warnings, []);
    // The last pause repeats: 5 s + 995 × 1 h.
    let many = "[relay.retry]\nschedule = ['5s', '1h']\njitter = 0\nmax_attempts = 997\n";
    let config = from_file(many).unwrap();
    let expected = [ConfigWarning::ShortRetention {
        retention: seconds(7 * 86_400),
        longest_retry: seconds(5 + 995 * 3_600),
        broker_retention: Duration::ZERO,
    }];
    assert_eq!(config.warnings, expected);
    assert_eq!(
        from_file("inbox.retention = '0s'").unwrap_err(),
        "FILE: inbox.retention is 0s; it must be longer than that"
    );
}
