use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use xshell::Cmd;

/// Runs a list of steps up to the first that fails, and prints how long each took.
pub(crate) fn steps(work: impl FnOnce(&mut Steps) -> Result<()>) -> Result<()> {
    let mut steps = Steps::default();
    let result = work(&mut steps);
    steps.print();
    result
}

#[derive(Default)]
pub(crate) struct Steps(Vec<(String, Duration, bool)>);

impl Steps {
    /// A step that is a command; its output is shown as it comes.
    pub(crate) fn run(&mut self, title: &str, command: Cmd<'_>) -> Result<()> {
        self.step(title, || Ok(command.run()?))
    }

    /// A step that is anything else.
    pub(crate) fn step<T>(&mut self, title: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        eprintln!("\n=== {title}");
        let start = Instant::now();
        let result = work();
        self.0.push((title.to_owned(), start.elapsed(), result.is_ok()));
        result.with_context(|| format!("step `{title}` failed"))
    }

    fn print(&self) {
        eprintln!("\n=== times");
        for (title, time, passed) in &self.0 {
            let verdict = if *passed { "" } else { "  FAILED" };
            eprintln!("{:>8.1} s  {title}{verdict}", time.as_secs_f64());
        }
        let total: Duration = self.0.iter().map(|(_, time, _)| *time).sum();
        eprintln!("{:>8.1} s  in all", total.as_secs_f64());
    }
}
