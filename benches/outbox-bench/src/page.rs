//! The page of results: the machine, the table and the pictures.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::report::Report;

/// What stands above the figures.
const HEAD: &str = "# Results\n\n\
    Written by `cargo xtask bench --publish`; [benches/README.md](../../benches/README.md) says what each bench measures. \
    What counts is the ratio of *ours* to *raw*, the best loop that one could write by hand, in the same run on the same \
    machine.\n\n";

/// Writes a page and its pictures into a folder.
pub(crate) fn write(folder: &Path, facts: &[(String, String)], report: &Report) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let mut page = HEAD.to_owned();
    page += "| | |\n|---|---|\n";
    for (name, value) in facts {
        writeln!(page, "| {name} | {value} |")?;
    }
    writeln!(page, "\n{}\n", report.table())?;
    for (name, picture) in report.pictures() {
        writeln!(page, "![{}]({name})\n", name.trim_end_matches(".svg"))?;
        let file = folder.join(name);
        fs::write(&file, picture).with_context(|| file.display().to_string())?;
    }
    let file = folder.join("README.md");
    fs::write(&file, page.trim_end().to_owned() + "\n").with_context(|| file.display().to_string())
}
