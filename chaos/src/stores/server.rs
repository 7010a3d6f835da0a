use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

/// How long a server may take to start and to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server of a database, with its data in a folder that vanishes with it.
pub(super) struct Server {
    pub(super) port: u16,
    folder: TempDir,
    program: PathBuf,
    arguments: Vec<String>,
    /// Whom it runs as, where everything else runs as root: some servers refuse root.
    user: Option<(u32, u32)>,
    child: Mutex<Option<Child>>,
}

impl Server {
    /// Makes a folder for it. In the arguments, `{data}` and `{port}` are filled in.
    pub(super) fn new(program: &str, arguments: &[&str], user: &str, prepare: &[&str]) -> Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let folder = tempfile::Builder::new().prefix("outbox-chaos-").tempdir()?;
        let user = user_of(user);
        let data = folder.path().join("data");
        fs::create_dir(&data)?;
        for path in [folder.path(), &data] {
            chown(path, user.map(|(user, _)| user), user.map(|(_, group)| group))?;
        }
        let fill = |text: &&str| {
            text.replace("{data}", &data.to_string_lossy()).replace("{port}", &port.to_string())
        };
        let arguments = arguments.iter().map(fill).collect();
        let server = Self { port, program: find(program)?, arguments, user, child: Mutex::new(None), folder };
        let [tool, words @ ..] = prepare else { return Ok(server) };
        let status = server.command(&find(tool)?)?.args(words.iter().map(fill)).status()?;
        ensure!(status.success(), "{tool} failed: {}", server.tail());
        Ok(server)
    }

    pub(super) fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Starts it, and returns when somebody can log in: it takes connections before it has read its log.
    pub(super) async fn start<T, F: Future<Output = Result<T>>>(&self, log_in: impl Fn() -> F) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        self.listens(deadline).await?;
        while let Err(error) = log_in().await {
            if Instant::now() > deadline {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn listens(&self, deadline: Instant) -> Result<()> {
        loop {
            let child = self.command(&self.program)?.args(&self.arguments).process_group(0).spawn()?;
            *self.child() = Some(child);
            while self.exited()?.is_none() {
                if tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.is_ok() {
                    return Ok(());
                }
                ensure!(
                    Instant::now() < deadline,
                    "{} does not start: {}",
                    self.program.display(),
                    self.tail()
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            // What a killed one has left behind may still be in use for a moment.
            ensure!(Instant::now() < deadline, "{} ends at once: {}", self.program.display(), self.tail());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// It and all that it has started at once, as if the power were gone.
    pub(super) fn kill(&self) -> Result<()> {
        let Some(mut child) = self.child().take() else { return Ok(()) };
        let mut processes = vec![child.id()];
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let children = fs::read_to_string(children).unwrap_or_default();
        processes.extend(children.split_whitespace().filter_map(|process| process.parse::<u32>().ok()));
        signal("-KILL", &processes)?;
        child.wait()?;
        Ok(())
    }

    /// By a signal that asks it to.
    pub(super) async fn stop(&self, name: &str) -> Result<()> {
        let Some(mut child) = self.child().take() else { return Ok(()) };
        signal(name, &[child.id()])?;
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                bail!("{} does not stop: {}", self.program.display(), self.tail());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    fn command(&self, program: &Path) -> Result<Command> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut command = Command::new(program);
        command.current_dir(self.folder.path().join("data")).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        Ok(command)
    }

    fn exited(&self) -> Result<Option<std::process::ExitStatus>> {
        Ok(self.child().as_mut().context("it was started")?.try_wait()?)
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tail(&self) -> String {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// By the program of that name, because sending a signal is not something that safe code can do itself.
pub(crate) fn signal(name: &str, processes: &[u32]) -> Result<()> {
    let mut command = Command::new("kill");
    command.arg(name).arg("--").args(processes.iter().map(u32::to_string));
    command.stderr(Stdio::null()).status().context("the program `kill`")?;
    Ok(())
}

/// The user and the group of that name, if we are root.
fn user_of(name: &str) -> Option<(u32, u32)> {
    let id = |words: &[&str]| -> Option<u32> {
        let output = Command::new("id").args(words).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    (id(&["-u"]) == Some(0)).then(|| Some((id(&["-u", name])?, id(&["-g", name])?))).flatten()
}

/// On the path, or where Debian keeps what only servers need.
fn find(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let versions = versions.map(|version| version.path().join("bin"));
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .chain(versions)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
        .with_context(|| format!("{program} is not installed"))
}
