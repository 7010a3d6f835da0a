use std::fs;
use std::process::Command;
use std::thread::available_parallelism;

/// What the figures were measured on. Without it a figure says nothing.
#[derive(Debug)]
pub(crate) struct Machine {
    facts: Vec<(String, String)>,
    load_before: String,
}

impl Machine {
    pub(crate) fn here() -> Self {
        let cores = available_parallelism().map_or(0, usize::from);
        let facts = [
            ("processor", format!("{cores} cores of {}", field("/proc/cpuinfo", "model name"))),
            ("memory", field("/proc/meminfo", "MemTotal")),
            ("system", first_line("/proc/version")),
            ("compiler", compiler()),
            ("outbox", format!("{}{}", env!("CARGO_PKG_VERSION"), debug())),
        ];
        let facts = facts.map(|(name, value)| (name.to_owned(), value)).to_vec();
        Self { facts, load_before: load() }
    }

    /// Adds the version of a database.
    pub(crate) fn add(&mut self, name: &str, version: String) {
        self.facts.push((name.to_owned(), version));
    }

    /// Each fact with its name. The last is what else ran, and took its share: the benches themselves keep one to two
    /// cores busy.
    pub(crate) fn facts(&self) -> Vec<(String, String)> {
        let mut facts = self.facts.clone();
        let loads = format!("{} before, {} after", self.load_before, load());
        facts.push(("load (1, 5, 15 minutes)".to_owned(), loads));
        facts
    }
}

/// The most memory that this process had, in MiB.
pub(crate) fn peak_memory() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok().map(|kibibytes| kibibytes / 1024.0)
}

fn debug() -> &'static str {
    if cfg!(debug_assertions) { " (not optimised: the figures mean nothing)" } else { "" }
}

fn field(file: &str, name: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or_else(unknown, |value| value.trim_start_matches([' ', '\t', ':']).to_owned())
}

fn first_line(file: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.split('(').next().map(str::trim).filter(|line| !line.is_empty()).map_or_else(unknown, str::to_owned)
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let numbers: Vec<&str> = text.split(' ').take(3).collect();
    if numbers.len() == 3 { numbers.join(" ") } else { unknown() }
}

fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output();
    output.map_or_else(|_| unknown(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn unknown() -> String {
    "unknown".to_owned()
}
