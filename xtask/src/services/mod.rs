mod install;
mod private;
mod probe;
mod record;
mod service;
mod tool;

use anyhow::{Context, Result};
use url::Url;

use service::{SERVICES, Service};

use crate::workspace::root;

/// A service that answers.
pub(crate) struct Running {
    /// The variable in which the tests look for it.
    pub(crate) variable: &'static str,
    /// Where it is.
    pub(crate) url: String,
}

/// Sees to it that every service this workspace needs answers: the one that is named by its variable, else the one at
/// the usual port, else a private one.
pub(crate) fn up() -> Result<Vec<Running>> {
    install::tools()?;
    let mut running = Vec::new();
    let mut missing = Vec::new();
    for service in needed() {
        match find(service)? {
            Some(found) => running.push(found.announce(service)),
            None => missing.push(service),
        }
    }
    install::programs_of(&missing)?;
    for service in missing {
        let url = private::start(service)?;
        let version = service.ask(&url)?;
        running.push(Found { url, version, origin: "started" }.announce(service));
    }
    Ok(running)
}

pub(crate) use install::headers;

/// Stops what was started here, also by an earlier call.
pub(crate) fn down() -> Result<()> {
    for service in &SERVICES {
        if private::stop(service)? {
            eprintln!("{:<10} stopped", service.name);
        }
    }
    Ok(())
}

/// Prints what the tests would use.
pub(crate) fn status() -> Result<()> {
    for service in needed() {
        match find(service) {
            Ok(Some(found)) => {
                found.announce(service);
            }
            Ok(None) => eprintln!("{:<10} none; `cargo xtask services up` starts one", service.name),
            Err(error) => eprintln!("{:<10} {error:#}", service.name),
        }
    }
    Ok(())
}

/// The services of the crates that exist in this workspace.
fn needed() -> impl Iterator<Item = &'static Service> {
    let root = root();
    let exists = move |name: &&str| root.join(name).join("Cargo.toml").exists();
    SERVICES.iter().filter(move |service| service.used_by.iter().any(&exists))
}

struct Found {
    url: Url,
    version: String,
    origin: &'static str,
}

impl Found {
    /// Says where the service is, without its password.
    fn announce(self, service: &Service) -> Running {
        let mut shown = self.url.clone();
        if shown.password().is_some() {
            // The only refusal is a URL that can have no password.
            let _ = shown.set_password(Some("***"));
        }
        eprintln!("{:<10} {:<10} {:<26} {shown}", service.name, self.origin, self.version);
        Running { variable: service.variable, url: self.url.into() }
    }
}

fn find(service: &Service) -> Result<Option<Found>> {
    if let Ok(named) = std::env::var(service.variable) {
        // Whoever names a server wants that one and no other, so there is nothing to fall back on.
        let url = Url::parse(&named).with_context(|| format!("{} is no URL", service.variable))?;
        let version = service
            .ask(&url)
            .with_context(|| format!("{} is set, but that server can't be used", service.variable))?;
        return Ok(Some(Found { url, version, origin: "named" }));
    }
    let usual = || found(service, Url::parse(service.usual).ok()?, "usual port");
    let private = || found(service, private::recorded(service)?, "private");
    Ok(match std::env::var("OUTBOX_SERVICES").as_deref() {
        Ok("private") => private(),
        _ => usual().or_else(private),
    })
}

fn found(service: &Service, url: Url, origin: &'static str) -> Option<Found> {
    let version = service.ask(&url).ok()?;
    Some(Found { url, version, origin })
}
