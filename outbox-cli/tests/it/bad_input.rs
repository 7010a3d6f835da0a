use crate::shell::{Ran, Shell};

const SECRET: &str = "c4nary";

#[test]
fn a_database_that_is_not_migrated_says_what_to_do() {
    let shell = Shell::new();
    let url = shell.new_url();
    for command in
        [&["status"][..], &["dead", "list"], &["relay", "--transport", "stdout:"], &["shards", "set", "1"]]
    {
        let ran = shell.run(&[&["--store", &*url], command].concat());
        assert_eq!(ran.code, 2, "{command:?}: {}", ran.stderr);
        assert!(
            ran.stderr.starts_with("error: check: the outbox tables (outbox_messages, …) do not exist"),
            "{}",
            ran.stderr
        );
        assert!(ran.stderr.contains("`outbox migrate`"), "{}", ran.stderr);
    }
}

#[test]
fn an_unreachable_database_is_an_error_without_a_password() {
    let shell = Shell::new();
    let store = format!("postgres://app:{SECRET}@127.0.0.1:1/shop");
    shell.run(&["--store", &store, "status"]).fails(
        1,
        "connect: can't connect to postgres database shop at 127.0.0.1:1: Connection refused (os error 111)",
    );
    shell.on_store(&["status"]).fails(
        1,
        &format!(
            "connect: can't connect to sqlite database {}: (code: 14) unable to open database file",
            shell.file("shop.db").display()
        ),
    );
}

#[test]
fn an_unknown_scheme_names_what_is_known() {
    let shell = Shell::new();
    let known = "known are postgres, postgresql, mysql, mariadb, sqlite";
    shell
        .run(&["--store", "oracle://u:c4nary@h", "status"])
        .fails(2, &format!("the scheme `oracle` of the store URL is not known; {known}"));
    shell.on_store(&["relay", "--transport", "pigeon://u:c4nary@h"]).fails(
        2,
        "the scheme `pigeon` of the transport URL is not known; known are kafka, amqp, amqps, nats, tls, redis, rediss, memory, stdout",
    );
}

#[test]
fn a_wrong_url_is_not_repeated() {
    let shell = Shell::migrated();
    for (store, transport) in [
        ("postgres://u:c4nary@h:port/d", "stdout:"),
        ("mysql://u:c4nary@h:99999/d", "stdout:"),
        ("sqlite:x?c4nary=1", "stdout:"),
        (&*shell.url(), "nats://u:c4nary@h:port"),
        (&shell.url(), "nats://u:c4nary@h?strem=ORDERS"),
    ] {
        let Ran { code, stdout, stderr } = shell.run(&["--store", store, "relay", "--transport", transport]);
        assert_eq!(code, 2, "{stderr}");
        // A parameter of SQLite's that nobody knows is named; it is no place for a password.
        assert!(store.starts_with("sqlite:x") || !format!("{stdout}{stderr}").contains(SECRET), "{stderr}");
    }
}

#[test]
fn identifiers_with_quotes_are_refused() {
    let shell = Shell::migrated();
    let allowed = "allowed are letters, digits and underscores, not a digit first";
    for (option, value, error) in [
        ("--prefix", "a\"b", format!("the table prefix \"a\\\"b\" has the character '\"'; {allowed}")),
        ("--schema", "a`; b", format!("the schema \"a`; b\" has the character '`'; {allowed}")),
    ] {
        shell.on_store(&["migrate", option, value]).fails(2, &error);
        shell.run(&["schema", "print", "--dialect", "mysql", option, value]).fails(2, &error);
    }
}

#[test]
fn a_missing_url_says_where_to_set_it() {
    let shell = Shell::new();
    shell
        .run(&["status"])
        .fails(2, "no store URL: set store.url in the configuration or OUTBOX_STORE_URL in the environment");
    shell.on_store(&["relay"]).fails(
        2,
        "no transport URL: set transport.url in the configuration or OUTBOX_TRANSPORT_URL in the environment",
    );
}

#[test]
fn wrong_usage_ends_with_2() {
    let shell = Shell::new();
    for command in
        [&["dead", "show", "7"][..], &["dead", "replay"], &["relai"], &["shards", "set", "900"], &[]]
    {
        let ran = shell.run(command);
        assert_eq!(ran.code, 2, "{command:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "");
    }
}

#[test]
fn help_shows_no_password() {
    let shell = Shell::new();
    for command in [&["--help"][..], &["relay", "--help"]] {
        let mut help = shell.command(command);
        help.env("OUTBOX_STORE_URL", "postgres://u:c4nary@h").env("OUTBOX_TRANSPORT_URL", "nats://c4nary@h");
        let help = Ran::of(help).succeeds();
        assert!(help.stdout.contains("--store") && !help.stdout.contains(SECRET), "{}", help.stdout);
    }
}
