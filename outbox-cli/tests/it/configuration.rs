use crate::shell::{Ran, Shell};

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let shell = Shell::migrated();
    let file =
        |url: &str| std::fs::write(shell.file("outbox.toml"), format!("[store]\nurl = '{url}'\n")).unwrap();
    let with_variable = |arguments: &[&str], url: &str| {
        let mut command = shell.command(arguments);
        command.env("OUTBOX_STORE_URL", url);
        Ran::of(command)
    };
    file(&shell.url());
    shell.run(&["status"]).succeeds();
    file("nonsense:");
    assert_eq!(shell.run(&["status"]).code, 2);
    with_variable(&["status"], &shell.url()).succeeds();
    assert_eq!(with_variable(&["status"], "nonsense:").code, 2);
    with_variable(&["--store", &shell.url(), "status"], "nonsense:").succeeds();
}

#[test]
fn another_file_can_be_named_and_must_exist() {
    let shell = Shell::migrated();
    std::fs::write(shell.file("prod.toml"), format!("store.url = '{}'\n", shell.url())).unwrap();
    shell.run(&["--config", "prod.toml", "status"]).succeeds();
    shell
        .run(&["status", "--config", "none.toml"])
        .fails(2, "none.toml: No such file or directory (os error 2)");
}

#[test]
fn an_unknown_key_names_itself_and_what_is_allowed() {
    let shell = Shell::migrated();
    std::fs::write(shell.file("outbox.toml"), "[relay.retry]\nmax_atempts = 3\n").unwrap();
    shell.on_store(&["status"]).fails(
        2,
        "outbox.toml: unknown key relay.retry.max_atempts; did you mean relay.retry.max_attempts? allowed are schedule, \
         jitter, max_attempts, max_unknown",
    );
    std::fs::remove_file(shell.file("outbox.toml")).unwrap();
    let mut command = shell.command(&["status"]);
    command.env("OUTBOX_TRANSPORT_URI", "stdout:");
    Ran::of(command).fails(
        2,
        "unknown variable OUTBOX_TRANSPORT_URI; did you mean OUTBOX_TRANSPORT_URL? allowed are OUTBOX_TRANSPORT_URL",
    );
}

#[test]
fn the_relay_works_as_it_is_configured() {
    let shell = Shell::migrated();
    std::fs::write(shell.file("outbox.toml"), "[relay]\nlease_ttl = '12s'\nlease_margin = '11s'\n").unwrap();
    let ran = shell.on_store(&["relay", "--transport", "stdout:"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("publish_timeout is 10s"), "{}", ran.stderr);
}

#[test]
fn prefix_and_schema_reach_the_tables() {
    let shell = Shell::migrated();
    shell.on_store(&["migrate", "--prefix", "billing_"]).succeeds();
    assert_eq!(shell.count("billing_outbox_messages"), 0);
    let mut command = shell.command(&["status"]);
    command.env("OUTBOX_STORE_URL", shell.url()).env("OUTBOX_STORE_TABLE_PREFIX", "other_");
    let ran = Ran::of(command);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("other_outbox_messages"), "{}", ran.stderr);
}

/// Every key has a line: what it is set to, and by whom.
#[test]
fn show_prints_what_is_in_effect_and_where_it_comes_from() {
    let shell = Shell::new();
    std::fs::write(shell.file("outbox.toml"), "batch_size = 17\n[relay.retry]\nschedule = ['1s', '2min']\n")
        .unwrap();
    let show = |arguments: &[&str]| {
        let mut command = shell.command(&[&["config", "show", "--transport", "stdout:"], arguments].concat());
        command
            .env("OUTBOX_STORE_URL", "postgres://app:c4nary@db/shop?sslmode=require&password=c4nary")
            .env("OUTBOX_ROUTES_AUDIT_TOPICS", "audit.*")
            .env("OUTBOX_ROUTES_AUDIT_URL", "nats://c4nary@h")
            .env("ENVIRONMENT", "dev");
        let ran = Ran::of(command).succeeds();
        assert!(!format!("{}{}", ran.stdout, ran.stderr).contains("c4nary"), "{}{}", ran.stdout, ran.stderr);
        ran
    };
    let text = show(&[]).stdout;
    let rows: Vec<Vec<&str>> = text
        .lines()
        .map(|line| {
            line.trim_matches(['│', ' ']).split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
        })
        .collect();
    for row in [
        ["relay.batch_size", "17", "outbox.toml"],
        ["relay.retry.schedule", "1s, 2m", "outbox.toml"],
        ["store.url", "postgres://app:***@db/shop?sslmode=require&…", "OUTBOX_STORE_URL"],
        ["transport.url", "stdout:", "code"],
        ["profile", "development", "ENVIRONMENT"],
        ["relay.poll.idle", "1s", "profile development"],
        ["metrics.enabled", "true", "profile development"],
        ["relay.concurrency", "4", "default"],
        ["wakeups.redis_url", "-", "default"],
        ["routes.audit.url", "nats://***@h", "OUTBOX_ROUTES_AUDIT_URL"],
    ] {
        assert!(rows.iter().any(|found| found == &row), "{row:?} is not in {text}");
    }
    let json = show(&["--json"]).json();
    let settings = json.as_array().unwrap();
    let of = |key: &str| settings.iter().find(|setting| setting["key"] == key).unwrap();
    assert_eq!(of("relay.batch_size")["value"], 17);
    assert_eq!(of("relay.batch_size")["source"], "file");
    assert_eq!(of("relay.batch_size")["name"], "outbox.toml");
    assert_eq!(of("relay.poll.idle")["source"], "profile");
    assert_eq!(settings.len(), rows.len() - 4, "a line each, beside the heading and three rules: {text}");
}

#[test]
fn the_reference_names_every_key_that_show_knows() {
    let shell = Shell::new();
    let reference = shell.run(&["config", "reference"]).succeeds().stdout;
    let settings = shell.run(&["config", "show", "--json"]).succeeds().json();
    for setting in settings.as_array().unwrap() {
        let key = setting["key"].as_str().unwrap();
        assert!(reference.contains(&format!("| `{key}`")), "{key}");
    }
}

#[test]
fn a_warning_is_logged_and_stops_nobody() {
    let shell = Shell::new();
    let mut command = shell.command(&["config", "show"]);
    command.env("ENVIRONMENT", "moon").env("OUTBOX_FLAVOUR", "x");
    let ran = Ran::of(command).succeeds();
    for text in ["ENVIRONMENT is \"moon\", which is no profile", "the variable OUTBOX_FLAVOUR sets nothing"] {
        assert!(ran.stderr.contains(text), "{}", ran.stderr);
    }
}

#[test]
fn an_instance_that_only_writes_does_not_relay() {
    let shell = Shell::migrated();
    let mut command = shell.command(&["--store", &shell.url(), "relay", "--transport", "stdout:", "--drain"]);
    command.env("OUTBOX_PROCESSOR_ENABLED", "false");
    Ran::of(command).fails(
        2,
        "OUTBOX_PROCESSOR_ENABLED: processor_enabled is false; the instance that relays needs \
         OUTBOX_PROCESSOR_ENABLED=true",
    );
}

#[test]
fn what_is_left_is_delivered_when_the_mode_is_direct() {
    let shell = Shell::migrated();
    shell.insert(1, "orders.placed", "a");
    let mut command = shell.command(&["--store", &shell.url(), "relay", "--transport", "stdout:", "--drain"]);
    command.env("OUTBOX_ENABLED", "false");
    let ran = Ran::of(command).succeeds();
    assert!(ran.stderr.contains("the mode is direct"), "{}", ran.stderr);
    assert_eq!(shell.count("outbox_messages"), 0);
}
