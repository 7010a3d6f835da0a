use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use url::Url;

use super::install::{self, is_root, program};
use super::record::{Record, folder};
use super::service::Service;
use crate::workspace::{root, shell};

/// How long a server may take to answer, and to stop.
const PATIENCE: Duration = Duration::from_secs(90);

/// The server that an earlier call has started.
pub(crate) fn recorded(service: &Service) -> Option<Url> {
    Record::load(service.name).map(|record| record.url)
}

/// Starts a server with a fresh data directory at a free port, and waits until it answers.
pub(crate) fn start(service: &Service) -> Result<Url> {
    stop(service)?;
    let user = if is_root() { install::user(service.private.user) } else { None };
    let data = data_folder(service, user)?;
    let free =
        || Ok::<_, std::io::Error>(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port().to_string());
    let (port, other_port) = (free()?, free()?);
    let filled = |text: &str, data: &str| {
        text.replace("{data}", data).replace("{port}", &port).replace("{other_port}", &other_port)
    };
    let url = Url::parse(&service.private.url.replace("{port}", &port))?;
    let log = folder()?.join(format!("{}.log", service.name));
    let command = |words: &[&str]| -> Result<Command> {
        let mut words = words.iter();
        let name = *words.next().context("a command has a program")?;
        let mut command = Command::new(program(name).with_context(|| format!("{name} is not installed"))?);
        let data = data.to_str().context("the path of the workspace is not UTF-8")?;
        command.args(words.map(|word| filled(word, data)));
        command.envs(service.private.env.iter().map(|(name, value)| (name, filled(value, data))));
        let output = File::options().create(true).append(true).open(&log)?;
        command.current_dir(data).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        if let Some((user, group)) = user {
            command.uid(user).gid(group);
        }
        Ok(command)
    };

    File::create(&log)?;
    if !service.private.prepare.is_empty() {
        let status = command(service.private.prepare)?.status()?;
        ensure!(status.success(), "{} failed:\n{}", service.private.prepare[0], tail(&log));
    }
    // A group of its own: an interrupted test run leaves the server alone.
    let mut server = command(service.private.serve)?.process_group(0).spawn()?;
    let record = Record { pid: server.id(), url: url.clone(), data };
    record.save(service.name)?;
    wait_for(service, &url, &mut server)
        .with_context(|| format!("{} does not start:\n{}", service.name, tail(&log)))?;
    Ok(url)
}

/// Stops a server that was started here; `false` if there is none.
pub(crate) fn stop(service: &Service) -> Result<bool> {
    let Some(record) = Record::load(service.name) else {
        return Ok(false);
    };
    let kill = |signal: &str| -> Result<()> {
        // The one that every shell has built in; the program of that name is not everywhere.
        let line = format!("kill -{signal} {}", record.pid);
        Ok(shell()?.cmd("sh").arg("-c").arg(line).quiet().run()?)
    };
    if record.is_alive() {
        kill(service.private.stop)?;
        if !wait_until(|| !record.is_alive()) {
            kill("KILL")?;
            ensure!(
                wait_until(|| !record.is_alive()),
                "{} (process {}) does not stop",
                service.name,
                record.pid
            );
        }
    }
    fs::remove_dir_all(&record.data).or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })?;
    Record::forget(service.name)?;
    Ok(true)
}

fn wait_for(service: &Service, url: &Url, server: &mut Child) -> Result<()> {
    let mut answer = Ok(());
    let done = wait_until(|| match server.try_wait() {
        Ok(None) => {
            answer = service.ask(url).map(drop);
            answer.is_ok()
        }
        ended => {
            answer = Err(anyhow::anyhow!("the process has ended: {ended:?}"));
            true
        }
    });
    answer.and_then(|()| if done { Ok(()) } else { bail!("no answer in time") })
}

fn wait_until(mut met: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if met() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

/// An empty folder that belongs to the user of the server.
fn data_folder(service: &Service, user: Option<(u32, u32)>) -> Result<PathBuf> {
    let mut data = folder()?.join(service.name);
    if user.is_some() && !data.ancestors().skip(1).all(anyone_may_pass) {
        // The workspace is in a private folder, root's home for example: another user does not get in.
        let mut hasher = DefaultHasher::new();
        root().hash(&mut hasher);
        data = std::env::temp_dir().join(format!("outbox-{:x}-{}", hasher.finish(), service.name));
    }
    if data.exists() {
        fs::remove_dir_all(&data)?;
    }
    fs::create_dir_all(&data)?;
    chown(&data, user.map(|(user, _)| user), user.map(|(_, group)| group))?;
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700))?;
    Ok(data)
}

fn anyone_may_pass(folder: &Path) -> bool {
    fs::metadata(folder).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0)
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
