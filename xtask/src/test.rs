use anyhow::Result;
use xshell::Shell;

use crate::services;
use crate::steps::Steps;
use crate::workspace::{cargo, has_cargo};

/// Examples that end by themselves: they are run, and their exit code is a test.
const EXAMPLES: &[&str] = &["quickstart"];

/// Services, tests, doc tests, examples.
pub(crate) fn run(sh: &Shell, steps: &mut Steps, args: &[String]) -> Result<()> {
    ready(sh, steps)?;

    let (title, runner): (_, &[&str]) = if has_cargo(sh, "nextest") {
        ("tests (cargo nextest)", &["nextest", "run"])
    } else {
        ("tests (cargo test)", &["test", "--no-fail-fast", "--lib", "--bins", "--tests"])
    };
    // cargo ignores `-p` beside `--workspace`.
    let chosen = args.iter().any(|arg| arg.starts_with("-p") || arg.starts_with("--package"));
    let scope: &[&str] = if chosen { &["--all-features"] } else { &["--workspace", "--all-features"] };
    steps.run(title, cargo(sh, runner).args(scope).args(args))?;
    if !args.is_empty() {
        eprintln!("note: with arguments for the test runner, doc tests and examples are left out");
        return Ok(());
    }

    steps.run("doc tests", cargo(sh, &["test", "--doc", "--workspace", "--all-features"]))?;
    for example in EXAMPLES {
        let title = format!("example {example}");
        steps.run(&title, cargo(sh, &["run", "--quiet", "--package", example]))?;
    }
    Ok(())
}

/// The test of all pairs, one database after the other, with what it prints.
pub(crate) fn matrix(sh: &Shell, steps: &mut Steps) -> Result<()> {
    ready(sh, steps)?;
    let test = ["test", "--quiet", "--package", "outbox", "--all-features", "--test", "matrix"];
    steps.run("matrix", cargo(sh, &test).args(["--", "--nocapture", "--test-threads=1"]))
}

fn ready(sh: &Shell, steps: &mut Steps) -> Result<()> {
    steps.step("headers", services::headers)?;
    for service in steps.step("services", services::up)? {
        sh.set_var(service.variable, &service.url);
    }
    // From here on a service that does not answer fails a test instead of skipping it.
    sh.set_var("OUTBOX_REQUIRE_SERVICES", "1");
    Ok(())
}
