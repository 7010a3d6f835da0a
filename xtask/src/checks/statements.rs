use std::collections::BTreeMap;

use anyhow::{Context, Result};
use xshell::Shell;

use super::architecture::STORES;
use super::none_of;
use crate::workspace::text_files;

/// What vouches for SQL text that was put together at run time.
const VOUCHER: &str = concat!("AssertSql", "Safe");

/// SQL text that is no constant enters a database at one place of an adapter, where it can be seen that it comes from
/// `outbox-sql` and nowhere else. Tests make their own databases, and may.
pub(crate) fn statements(sh: &Shell) -> Result<()> {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, text) in text_files(sh)? {
        let path = path.display().to_string();
        let Some((owner, file)) = path.split_once("/src/").filter(|_| text.contains(VOUCHER)) else {
            continue;
        };
        places.entry(owner.to_owned()).or_default().push(file.to_owned());
    }
    // A bare loop to compare with, and whoever looks at the tables of an example, have their own SQL by their nature, and
    // ship to nobody.
    places.retain(|owner, _| !owner.starts_with("benches/") && owner != "examples/customer");
    let wrong = places.iter().filter(|(owner, files)| files.len() > 1 || !STORES.contains(&owner.as_str()));
    let findings: Vec<_> =
        wrong.map(|(owner, files)| format!("{owner} vouches for SQL in {}", files.join(", "))).collect();
    none_of(&findings).context("only an adapter vouches for SQL, and in one file")?;
    eprintln!("{} crates vouch for SQL, each in one file", places.len());
    Ok(())
}
