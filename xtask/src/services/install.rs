use std::io::stderr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Result, bail, ensure};

use super::service::{Private, Service};
use super::tool::TOOLS as TOOLS_OF_CARGO;
use crate::workspace::{root, shell};

/// Sees to it that the programs of these services are installed.
///
/// Only root on a Debian-like system gets them installed; everybody else is told what to do.
pub(crate) fn programs_of(services: &[&Service]) -> Result<()> {
    let missing = |service: &&&Service| !is_installed(service);
    let packages = |service: &&Service| service.private.packages.iter().copied();
    if is_root() && program("apt-get").is_some() {
        let wanted: Vec<_> = services.iter().filter(missing).flat_map(packages).collect();
        install(&wanted)?;
    }
    for tool in services.iter().filter(missing).filter_map(|service| service.private.tool) {
        tool.install()?;
    }
    let left: Vec<_> = services.iter().filter(missing).collect();
    if left.is_empty() {
        return Ok(());
    }
    let join = |words: Vec<&str>| words.join(" ");
    bail!(
        "nothing answers as {names}, and the programs to start it are not installed. One of these helps:\n  \
         sudo apt-get install {packages}\n  \
         docker compose up --detach --wait {names}   (in {root})\n  \
         the URL of a server of your own in {variables}",
        names = join(left.iter().map(|service| service.name).collect()),
        packages = join(left.iter().copied().flat_map(packages).collect()),
        variables = join(left.iter().map(|service| service.variable).collect()),
        root = root().display(),
    )
}

/// Programs that tests run as somebody else would, and the Debian packages that they are in: clients of databases, and a
/// broker of their own to kill. A server at its usual port, in a container for example, brings none of them.
const TOOLS: [(&str, &str); 7] = [
    ("psql", "postgresql-client"),
    ("mariadb", "mariadb-client"),
    ("sqlite3", "sqlite3"),
    ("nats-server", "nats-server"),
    ("redis-server", "redis-server"),
    ("/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server"),
    ("openssl", "openssl"),
];

/// What the crates with C in them need to be built with all their features.
const HEADERS: [(&str, &str); 3] =
    [("openssl", "libssl-dev"), ("libpq", "libpq-dev"), ("libmariadb", "libmariadb-dev")];

/// Sees to it that these programs are installed.
pub(crate) fn tools() -> Result<()> {
    let missing = || TOOLS.iter().filter(|(name, _)| program(name).is_none());
    let packages = || missing().map(|(_, package)| *package).collect::<Vec<_>>();
    if is_root() && program("apt-get").is_some() {
        install(&packages())?;
    }
    let left: Vec<_> = missing().map(|(name, _)| *name).collect();
    ensure!(
        left.is_empty(),
        "tests run {}, which can't be found here. This helps:\n  sudo apt-get install {}",
        left.join(", "),
        packages().join(" ")
    );
    for tool in TOOLS_OF_CARGO {
        if !tool.is_installed() {
            tool.install()?;
        }
    }
    Ok(())
}

/// Sees to it that everything can be built with all its features.
pub(crate) fn headers() -> Result<()> {
    let sh = shell()?;
    let found =
        |name: &str| sh.cmd("pkg-config").args(["--exists", name]).quiet().ignore_stderr().run().is_ok();
    let missing: Vec<_> =
        HEADERS.iter().filter(|(name, _)| !found(name)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let wanted = [&["pkg-config"], &missing[..]].concat();
    if is_root() && program("apt-get").is_some() {
        return install(&wanted);
    }
    bail!(
        "all features need what can't be found here. This helps:\n  sudo apt-get install {}",
        wanted.join(" ")
    )
}

fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let get = ["install", "--yes", "--no-install-recommends"];
    for args in [vec!["update"], [&get, packages].concat()] {
        let mut command = Command::new("apt-get");
        command.args(&args).env("DEBIAN_FRONTEND", "noninteractive");
        // Standard output is for the variables that a shell evaluates.
        eprintln!("$ apt-get {}", args.join(" "));
        let status = command.stdin(Stdio::null()).stdout(stderr()).status()?;
        ensure!(status.success(), "apt-get {} failed", args[0]);
    }
    Ok(())
}

/// Where a program is: on the path, or where distributions keep servers.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    // Debian keeps the programs of each version of PostgreSQL apart; the newest is as good as any.
    let mut versions: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .collect();
    versions.sort_unstable();
    let bins =
        versions.iter().rev().map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")));
    folders.extend(bins);
    folders.extend(TOOLS_OF_CARGO.iter().map(|tool| tool.folder().join("bin")));
    folders.into_iter().map(|folder| folder.join(name)).find(|file| file.is_file())
}

pub(crate) fn is_root() -> bool {
    id("-u", None) == Some(0)
}

/// The numbers of a user and of its group.
pub(crate) fn user(name: &str) -> Option<(u32, u32)> {
    Some((id("-u", Some(name))?, id("-g", Some(name))?))
}

fn id(which: &str, user: Option<&str>) -> Option<u32> {
    let sh = shell().ok()?;
    let id = sh.cmd("id").arg(which).args(user);
    id.quiet().ignore_stderr().read().ok()?.trim().parse().ok()
}

fn is_installed(service: &Service) -> bool {
    let Private { prepare, serve, .. } = &service.private;
    let installed = |command: &[&str]| command.first().is_some_and(|name| program(name).is_some());
    installed(serve) && (prepare.is_empty() || installed(prepare))
}
