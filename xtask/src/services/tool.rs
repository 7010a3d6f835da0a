use std::path::PathBuf;

use anyhow::Result;

use crate::workspace::{cargo, shell};

/// A program that no package of the distribution has, and cargo builds. It is kept outside of this workspace: building it
/// takes minutes, and `cargo clean` is not meant for it.
#[derive(Debug)]
pub(crate) struct Tool {
    /// The crate, and its binary.
    pub(crate) name: &'static str,
    version: &'static str,
    features: &'static str,
}

/// A broker that speaks Kafka's protocol, without a JVM: in memory, or in an SQLite file that survives a restart.
pub(crate) static TANSU: Tool = Tool { name: "tansu", version: "0.6.0", features: "dynostore,libsql" };

/// All that tests start themselves.
pub(crate) static TOOLS: [&Tool; 1] = [&TANSU];

impl Tool {
    /// Where the program is once it is installed.
    pub(crate) fn folder(&self) -> PathBuf {
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
        let cache = cache.unwrap_or_else(std::env::temp_dir);
        cache.join("outbox-services").join(format!("{}-{}", self.name, self.version))
    }

    pub(crate) fn is_installed(&self) -> bool {
        super::install::program(self.name).is_some()
    }

    /// Builds it.
    pub(crate) fn install(&self) -> Result<()> {
        let sh = shell()?;
        let root = self.folder();
        eprintln!("{} {} is built once, into {}", self.name, self.version, root.display());
        // Its own target folder: what it needs is built with other features than ours.
        let target = root.join("target");
        let install = ["install", self.name, "--version", self.version, "--locked", "--no-default-features"];
        let command = cargo(&sh, &install).args(["--features", self.features]).arg("--root").arg(&root);
        command.arg("--target-dir").arg(&target).run()?;
        Ok(std::fs::remove_dir_all(target)?)
    }
}
