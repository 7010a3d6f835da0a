//! The story in short, with kills: its proof holds, and it was not told in vain.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test states what it expects")]

use std::process::{Command, Output};

use outbox_conformance::started;

/// What the program answers where a service is missing.
const MISSING: i32 = 69;

fn tell(args: &[&str]) -> Option<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chain"));
    for (variable, tested) in [
        ("POSTGRES_URL", "OUTBOX_TEST_POSTGRES_URL"),
        ("NATS_URL", "OUTBOX_TEST_NATS_URL"),
        ("RABBITMQ_URL", "OUTBOX_TEST_AMQP_URL"),
    ] {
        if let Ok(url) = std::env::var(tested) {
            command.env(variable, url);
        }
    }
    let output = command.args(args).output().unwrap();
    started("the chain", Some(output).filter(|output| output.status.code() != Some(MISSING)))
}

/// The numbers of a line of the report.
fn numbers(report: &str, line: &str) -> Vec<u64> {
    let found = report.lines().find_map(|found| found.strip_prefix(line));
    let found = found.unwrap_or_else(|| panic!("{line} is missing in\n{report}"));
    found.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

#[test]
fn every_order_is_billed_and_shipped_once_whoever_is_killed() {
    let args = "--minutes 0.15 --rate 6 --abort 0.05 --kills --kill-every 2";
    let args: Vec<_> = args.split(' ').collect();
    let Some(output) = tell(&args) else { return };
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{report}\n{}", String::from_utf8_lossy(&output.stderr));

    let placed = numbers(&report, "orders placed")[0];
    assert!(placed > 10, "{report}");
    // All but the one that nobody can bill.
    for line in ["billed exactly once", "shipped exactly once", "placed → billed → shipped"] {
        assert_eq!(numbers(&report, line), [placed - 1], "{report}");
    }
    assert_eq!(numbers(&report, "dead letters"), [1], "{report}");
    // Whether the last of its tries could not be billed or was killed is a matter of luck.
    let letter = report.lines().find(|line| line.starts_with("  billing, OrderPlaced of order "));
    assert!(letter.unwrap().contains(": given up after "), "{report}");

    // Tries that succeeded, that failed, whose message had come before, that aborted; kills. Who is killed leaves some
    // out. How often a handler sees a message again is a matter of luck: after an abort the consumer finds it first.
    let services = ["orders  ", "billing  ", "shipping  "].map(|service| numbers(&report, service));
    assert!(services[1][1] > 0, "the tries of what can't be billed: {report}");
    let all = |column: usize| services.iter().map(|columns| columns[column]).sum::<u64>();
    assert!(all(3) > 0 && all(4) > 1, "no aborts, or no kills: {report}");
}

#[test]
fn a_missing_service_is_named_with_what_to_do() {
    // Nobody listens at port 1.
    let output = Command::new(env!("CARGO_BIN_EXE_chain"))
        .env("NATS_URL", "nats://me:c4nary@127.0.0.1:1")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(MISSING));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("NATS can't be reached") && error.contains("NATS_URL=…"), "{error}");
    assert!(!error.contains("c4nary"), "{error}");
}
