use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, bail};
use outbox::sql::MigrationScript;

use crate::args::MigrationTool;

/// The migration as sea-orm has them: a module beside its SQL.
const SEA_ORM: &str = include_str!("sea_orm_migration.rs.txt");

/// A file to write: where below the folder, and what.
pub(crate) struct File {
    path: String,
    text: String,
}

/// The files of a migration.
pub(crate) fn files(tool: MigrationTool, script: &MigrationScript) -> Vec<File> {
    let MigrationScript { version, name, date, .. } = script;
    let up = |path| File { path, text: script.sql.clone() };
    let down = |path| File { path, text: script.down.clone() };
    match tool {
        MigrationTool::Sqlx => vec![up(format!("{date}{version:06}_{name}.sql"))],
        MigrationTool::Diesel => {
            let folder = format!("{}-{version:06}_{name}", dashed(date));
            vec![up(format!("{folder}/up.sql")), down(format!("{folder}/down.sql"))]
        }
        MigrationTool::SeaOrm => {
            let module = format!("m{date}_{version:06}_{name}");
            let text = SEA_ORM.replace("{module}", &module);
            vec![
                File { path: format!("{module}.rs"), text },
                up(format!("{module}.up.sql")),
                down(format!("{module}.down.sql")),
            ]
        }
        // Its versions are 32 bits wide.
        MigrationTool::Refinery => vec![up(format!("V{date}__{name}.sql"))],
        MigrationTool::Sql => {
            vec![up(format!("{version:04}_{name}.up.sql")), down(format!("{version:04}_{name}.down.sql"))]
        }
    }
}

/// `2026-11-01`, as diesel writes it.
fn dashed(date: &str) -> String {
    format!("{}-{}-{}", &date[..4], &date[4..6], &date[6..])
}

/// Writes what is not there yet. A file that is there with another text may have been applied: it is left as it is, and
/// nothing is written at all.
pub(crate) fn write(folder: &Path, files: &[File]) -> Result<Vec<String>> {
    let mut missing = Vec::new();
    for file in files {
        let path = folder.join(&file.path);
        match fs::read_to_string(&path) {
            Ok(text) if text == file.text => {}
            Ok(_) => bail!("{} is there with another text; a migration is never changed", path.display()),
            Err(error) if error.kind() == ErrorKind::NotFound => missing.push((path, file)),
            Err(error) => return Err(error).with_context(|| format!("can't read {}", path.display())),
        }
    }
    let mut written = Vec::new();
    for (path, file) in missing {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("can't make {}", parent.display()))?;
        }
        fs::write(&path, &file.text).with_context(|| format!("can't write {}", path.display()))?;
        written.push(path.display().to_string());
    }
    Ok(written)
}
