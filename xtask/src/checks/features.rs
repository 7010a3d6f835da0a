use anyhow::Result;
use cargo_metadata::TargetKind;
use xshell::Shell;

use crate::steps::Steps;
use crate::workspace::{cargo, metadata};

/// Every library with features compiles without a warning with none of them, and with each of them alone.
pub(crate) fn features(sh: &Shell, steps: &mut Steps) -> Result<()> {
    for package in metadata()?.packages {
        let is_library = package.targets.iter().any(|target| target.kind.contains(&TargetKind::Lib));
        let mut features: Vec<&str> = package.features.keys().map(String::as_str).collect();
        features.retain(|name| *name != "default");
        if !is_library || features.is_empty() {
            continue;
        }
        features.insert(0, "");
        steps.step(&format!("features of {}", package.name), || {
            for feature in features {
                let alone = ["check", "--quiet", "--lib", "--no-default-features", "--features", feature];
                cargo(sh, &alone).args(["--package", &package.name]).run()?;
            }
            Ok(())
        })?;
    }
    Ok(())
}
