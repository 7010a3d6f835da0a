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
        "outbox.toml: unknown key relay.retry.max_atempts; allowed are schedule, jitter, max_attempts, max_unknown",
    );
    std::fs::remove_file(shell.file("outbox.toml")).unwrap();
    let mut command = shell.command(&["status"]);
    command.env("OUTBOX_TRANSPORT_URI", "stdout:");
    Ran::of(command)
        .fails(2, "environment: unknown variable OUTBOX_TRANSPORT_URI; allowed are OUTBOX_TRANSPORT_URL");
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
