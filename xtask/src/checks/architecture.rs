use anyhow::{Context, Result};
use cargo_metadata::DependencyKind;
use xshell::Shell;

use super::none_of;
use crate::workspace::{cargo, metadata, root};

pub(crate) const STORES: [&str; 3] = ["outbox-sqlx", "outbox-diesel", "outbox-seaorm"];
const BROKERS: [&str; 4] = ["outbox-kafka", "outbox-amqp", "outbox-nats", "outbox-redis"];

/// Crates that describe and decide, and never connect to anything.
const WITHOUT_DRIVERS: [&str; 2] = ["outbox-core", "outbox-sql"];

/// Runtimes, database clients, broker clients. A name stands for everything that begins with it.
const DRIVERS: [&str; 16] = [
    "tokio",
    "async-std",
    "smol",
    "sqlx",
    "diesel",
    "sea-orm",
    "rusqlite",
    "libsqlite3",
    "mysql",
    "postgres",
    "rdkafka",
    "lapin",
    "async-nats",
    "redis",
    "reqwest",
    "hyper",
];

/// Which members of the workspace a member may depend on. `None`: it has no place in the architecture yet.
fn allowed(name: &str, folder: &str) -> Option<Vec<&'static str>> {
    let core = vec!["outbox-core"];
    let libraries = || {
        let rest = ["outbox-core", "outbox-sql", "outbox-memory", "outbox-relay", "outbox-conformance"];
        [&rest[..], &STORES, &BROKERS].concat()
    };
    match name {
        "outbox-core" | "xtask" => Some(Vec::new()),
        "outbox-sql" | "outbox-memory" | "outbox-relay" => Some(core),
        name if BROKERS.contains(&name) => Some(core),
        name if STORES.contains(&name) => Some(vec!["outbox-core", "outbox-sql"]),
        "outbox-conformance" => Some(vec!["outbox-core", "outbox-relay"]),
        "outbox" => Some(libraries()),
        "outbox-cli" => Some(vec!["outbox"]),
        _ if folder.starts_with("examples/") || folder.starts_with("benches/") || folder == "chaos" => {
            Some([&["outbox"], &libraries()[..]].concat())
        }
        _ => None,
    }
}

/// A member and the members it asks for.
struct Member {
    name: String,
    folder: String,
    uses: Vec<(String, DependencyKind)>,
}

/// Data flows one way through the crates, and adapters know nothing of each other.
pub(crate) fn architecture(sh: &Shell) -> Result<()> {
    let members = members()?;
    let mut findings = dependencies_that_are_not_allowed(&members);
    for name in WITHOUT_DRIVERS {
        let tree = ["tree", "-e", "normal", "-p", name, "--all-features", "--prefix", "none"];
        let tree = cargo(sh, &tree).quiet().read()?;
        let drivers = tree.lines().filter(|line| DRIVERS.iter().any(|driver| line.starts_with(driver)));
        findings.extend(drivers.map(|line| format!("{name} pulls in {line}")));
    }
    none_of(&findings)?;
    eprintln!("{} crates in their places", members.len());
    Ok(())
}

fn members() -> Result<Vec<Member>> {
    let root = root();
    let packages = metadata()?.packages;
    let member = |package: cargo_metadata::Package| {
        let folder = package.manifest_path.parent().context("a manifest is in a folder")?;
        let folder = folder.as_std_path().strip_prefix(&root)?.display().to_string();
        let local = package.dependencies.into_iter().filter(|dependency| dependency.path.is_some());
        let uses = local.map(|dependency| (dependency.name, dependency.kind)).collect();
        Ok(Member { name: package.name.to_string(), folder, uses })
    };
    packages.into_iter().map(member).collect()
}

fn dependencies_that_are_not_allowed(members: &[Member]) -> Vec<String> {
    let adapter = |name: &str| STORES.contains(&name) || BROKERS.contains(&name);
    let mut findings = Vec::new();
    for Member { name, folder, uses } in members {
        let Some(allowed) = allowed(name, folder) else {
            findings.push(format!("{name} has no place in the architecture: give it one in xtask"));
            continue;
        };
        for (used, kind) in uses {
            // Tests may use more, so that an adapter can run the conformance suite, but not another adapter.
            let fine = match kind {
                DependencyKind::Development => !(adapter(name) && adapter(used)),
                _ => allowed.contains(&used.as_str()),
            };
            if !fine {
                findings.push(format!("{name} must not depend on {used}"));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(name: &str, folder: &str, used: &str, kind: DependencyKind) -> Vec<String> {
        let uses = vec![(used.to_owned(), kind)];
        dependencies_that_are_not_allowed(&[Member {
            name: name.to_owned(),
            folder: folder.to_owned(),
            uses,
        }])
    }

    #[test]
    fn adapters_know_the_core_and_not_each_other() {
        use DependencyKind::{Development, Normal};
        let nats = |used, kind| findings("outbox-nats", "outbox-nats", used, kind);
        assert!(nats("outbox-core", Normal).is_empty());
        assert!(nats("outbox-conformance", Development).is_empty());
        assert_eq!(nats("outbox-sqlx", Normal), ["outbox-nats must not depend on outbox-sqlx"]);
        assert_eq!(nats("outbox-sqlx", Development).len(), 1);
        assert_eq!(nats("outbox-relay", Normal).len(), 1);
    }

    #[test]
    fn a_crate_without_a_place_is_found() {
        assert_eq!(findings("outbox-new", "outbox-new", "outbox-core", DependencyKind::Normal).len(), 1);
        assert!(findings("new", "examples/new", "outbox", DependencyKind::Normal).is_empty());
    }
}
