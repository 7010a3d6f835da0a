use std::net::Ipv4Addr;

use anyhow::Result;
use xshell::Shell;

use super::none_of;
use crate::workspace::{root, text_files};

/// Where people and machines keep their files; with a slash behind, it is somebody's path.
const HOMES: [&str; 4] = ["/root", "/home", "/Users", "/work"];

/// The one registry that everybody can reach.
const REGISTRY: &str = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";

/// Nothing in the tree is true on one machine only: no path of it, no host of its network.
pub(crate) fn texts(sh: &Shell) -> Result<()> {
    let files = text_files(sh)?;
    let checkout = root().display().to_string();
    let mut findings = Vec::new();
    for (path, text) in &files {
        let lock = path.ends_with("Cargo.lock");
        for (number, line) in text.lines().enumerate() {
            let foreign_source = lock && line.starts_with("source = ") && line != REGISTRY;
            if foreign_source || names_a_machine(line, &checkout) {
                findings.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
        if path.ends_with(".cargo/config.toml") && (text.contains("[source") || text.contains("[registr")) {
            findings.push(format!("{}: redirects cargo to another registry", path.display()));
        }
    }
    if !files.iter().any(|(path, text)| path.as_os_str() == "README.md" && text.contains("cargo xtask test"))
    {
        findings.push("README.md: does not say how to run the tests (cargo xtask test)".to_owned());
    }
    none_of(&findings)?;
    eprintln!("{} files name no machine", files.len());
    Ok(())
}

fn names_a_machine(line: &str, checkout: &str) -> bool {
    let home = |home: &&str| {
        line.match_indices(&format!("{home}/")).any(|(at, _)| {
            !line[..at].ends_with(|before: char| before.is_alphanumeric() || "._-~".contains(before))
        })
    };
    line.contains(checkout) || HOMES.iter().any(home) || hosts(line).any(is_private)
}

/// The hosts of the web addresses in a line.
fn hosts(line: &str) -> impl Iterator<Item = &str> {
    line.split("://").skip(1).zip(line.split("://")).filter_map(|(rest, before)| {
        let web = before.ends_with("http") || before.ends_with("https");
        let end = |c: char| !(c.is_alphanumeric() || ".-".contains(c));
        rest.split(end).next().filter(|_| web)
    })
}

fn is_private(host: &str) -> bool {
    let private_name = [".internal", ".corp", ".lan", ".local", ".intranet"];
    private_name.iter().any(|end| host.ends_with(end))
        || host.parse().is_ok_and(|host: Ipv4Addr| host.is_private())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_hosts_of_a_machine_are_found() {
        let slash = "/";
        for line in [
            format!("see {}{slash}me{slash}notes.md", "/home"),
            format!("cd \"{}{slash}outbox\"", "/root"),
            "target of /checkout/outbox here".to_owned(),
            format!("https:{slash}/crates.mirror{}/index", ".internal"),
            format!("http:{slash}/10.0{}/simple", ".0.8"),
        ] {
            assert!(names_a_machine(&line, "/checkout/outbox"), "{line}");
        }
    }

    #[test]
    fn what_everybody_can_reach_is_fine() {
        for line in [
            "https://docs.rs/sqlx and http://127.0.0.1:8222/varz",
            "nats://10.0.0.8:4222 is an example of a cluster",
            "GET https://example.org/home/index.html",
            "examples/home/main.rs",
        ] {
            assert!(!names_a_machine(line, "/checkout/outbox"), "{line}");
        }
    }
}
