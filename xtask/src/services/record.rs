use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::workspace::{root, shell};

/// What is remembered of a server that was started here.
#[derive(Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) pid: u32,
    pub(crate) url: Url,
    pub(crate) data: PathBuf,
}

impl Record {
    pub(crate) fn load(name: &str) -> Option<Self> {
        serde_json::from_str(&fs::read_to_string(file(name).ok()?).ok()?).ok()
    }

    pub(crate) fn save(&self, name: &str) -> Result<()> {
        Ok(fs::write(file(name)?, serde_json::to_string_pretty(self)?)?)
    }

    pub(crate) fn forget(name: &str) -> Result<()> {
        Ok(fs::remove_file(file(name)?)?)
    }

    /// Whether the process still runs. The number alone does not tell, because numbers are used again.
    pub(crate) fn is_alive(&self) -> bool {
        let data = self.data.to_string_lossy();
        command_line(self.pid).is_some_and(|line| line.contains(&*data))
    }
}

/// Where records, logs and data are kept.
pub(crate) fn folder() -> Result<PathBuf> {
    let folder = root().join(".services");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn file(name: &str) -> Result<PathBuf> {
    Ok(folder()?.join(format!("{name}.json")))
}

fn command_line(pid: u32) -> Option<String> {
    // Minimal images of Linux have no `ps`, and other systems have no `/proc`.
    if let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) {
        return Some(String::from_utf8_lossy(&line).into_owned());
    }
    let sh = shell().ok()?;
    let ps = sh.cmd("ps").args(["-ww", "-o", "args=", "-p"]).arg(pid.to_string());
    ps.quiet().ignore_stderr().read().ok()
}
