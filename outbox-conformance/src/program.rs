use std::ffi::OsStr;
use std::process::Command;

/// A program as a process of its own, without whatever the environment of the tests says about another outbox or its log.
#[must_use]
pub fn program(path: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(path);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("OUTBOX_") || ["ENVIRONMENT", "RUST_LOG"].contains(&&*text) {
            command.env_remove(&name);
        }
    }
    command
}
