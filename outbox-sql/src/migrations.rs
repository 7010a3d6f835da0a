use crate::{Dialect, Table, TableNames};

/// The numbered migrations of the tables.
#[derive(Debug)]
pub struct Migrations;

/// A migration as SQL text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationScript {
    /// Its number, from 1.
    pub version: i32,
    /// What it does.
    pub name: &'static str,
    /// Statements without parameters. The last of them records the migration in `outbox_migrations`. It begins no
    /// transaction: run it in one where the database can.
    pub sql: String,
    /// What undoes it. Fails, before anything is changed, where messages would be lost.
    pub down: String,
    /// The day it was written, as in the names of other tools' migrations: `20261101`. It never changes.
    pub date: &'static str,
}

struct Migration {
    version: i32,
    name: &'static str,
    date: &'static str,
    down: &'static str,
    postgres: &'static str,
    mysql: &'static str,
    sqlite: &'static str,
}

const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    name: "outbox",
    date: "20261101",
    down: include_str!("../migrations/0001_outbox.down.sql"),
    postgres: include_str!("../migrations/postgres/0001_outbox.sql"),
    mysql: include_str!("../migrations/mysql/0001_outbox.sql"),
    sqlite: include_str!("../migrations/sqlite/0001_outbox.sql"),
}];

impl Migrations {
    /// The version of the tables that this code reads and writes.
    #[must_use]
    pub fn latest() -> i32 {
        MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
    }

    /// All migrations, in order, for tables with these names.
    #[must_use]
    pub fn rendered(dialect: Dialect, names: &TableNames) -> Vec<MigrationScript> {
        MIGRATIONS.iter().map(|migration| migration.render(dialect, names)).collect()
    }
}

impl Migration {
    fn render(&self, dialect: Dialect, names: &TableNames) -> MigrationScript {
        let Self { version, name, date, .. } = *self;
        let template = match dialect {
            Dialect::Postgres => self.postgres,
            Dialect::MySql => self.mysql,
            Dialect::Sqlite => self.sqlite,
        };
        let migrations = names.table(dialect, Table::Migrations);
        // Two that apply the same migration at once: here the second one fails, and knows.
        let record = format!("INSERT INTO {migrations} (version, name) VALUES ({version}, '{name}')");
        let sql = format!("{}\n{record};\n", fill(template, dialect, names).trim_end());
        let down = fill(self.down, dialect, names);
        MigrationScript { version, name, sql, down, date }
    }
}

/// Puts the names in: `{outbox_messages}` stands for that table, `{index:outbox_messages:x}` for an index of it where
/// indexes have names beside those of the tables. Any other brace is text.
fn fill(template: &str, dialect: Dialect, names: &TableNames) -> String {
    let mut sql = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        sql.push_str(before);
        let filled =
            after.split_once('}').and_then(|(name, end)| Some((placeholder(name, dialect, names)?, end)));
        rest = match filled {
            Some((name, end)) => {
                sql.push_str(&name);
                end
            }
            None => {
                sql.push('{');
                after
            }
        };
    }
    sql.push_str(rest);
    sql
}

fn placeholder(name: &str, dialect: Dialect, names: &TableNames) -> Option<String> {
    let table = |name: &str| Table::ALL.into_iter().find(|table| table.name() == name);
    match name.strip_prefix("index:") {
        Some(index) => {
            let (of, suffix) = index.split_once(':')?;
            Some(dialect.quote(&format!("{}_{suffix}", names.plain(table(of)?))))
        }
        None => Some(names.table(dialect, table(name)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Dialect; 3] = [Dialect::Postgres, Dialect::MySql, Dialect::Sqlite];

    #[test]
    fn every_placeholder_is_filled() {
        for dialect in ALL {
            for script in Migrations::rendered(dialect, &TableNames::default()) {
                assert!(
                    !script.sql.contains("{outbox") && !script.sql.contains("{in"),
                    "{dialect:?}: {}",
                    script.sql
                );
                assert!(script.sql.contains("'{}'"), "{dialect:?}: braces that are text are kept");
            }
        }
    }

    #[test]
    fn the_last_script_undone_leaves_no_table() {
        let scripts = Migrations::rendered(Dialect::Postgres, &TableNames::new(Some("app"), "b_").unwrap());
        for table in Table::ALL {
            let drop = format!("DROP TABLE \"app\".\"b_{}\";", table.name());
            assert!(scripts.iter().any(|script| script.down.contains(&drop)), "{drop}");
        }
    }

    #[test]
    fn every_name_has_the_prefix() {
        for dialect in ALL {
            let names = TableNames::new(None, "billing_").unwrap();
            for script in Migrations::rendered(dialect, &names) {
                let statements = script.sql.lines().filter(|line| !line.trim_start().starts_with("--"));
                for line in statements.filter(|line| line.contains("outbox_") || line.contains("inbox_")) {
                    assert!(line.contains("billing_"), "{dialect:?}: {line}");
                }
            }
        }
    }

    #[test]
    fn a_script_records_itself_last() {
        for dialect in ALL {
            let scripts = Migrations::rendered(dialect, &TableNames::default());
            assert_eq!(scripts.last().map(|script| script.version), Some(Migrations::latest()));
            for script in scripts {
                let last = script.sql.trim_end().lines().last().unwrap().to_owned();
                assert!(
                    last.contains("outbox_migrations") && last.contains(&script.version.to_string()),
                    "{last}"
                );
            }
        }
    }

    #[test]
    fn the_hot_table_has_no_index_but_its_primary_key() {
        for dialect in ALL {
            let [script] = &Migrations::rendered(dialect, &TableNames::default())[..] else {
                panic!("one script")
            };
            let table = names_of_hot_table(dialect);
            assert!(!script.sql.contains(&format!("INDEX ON {table}")));
            let create =
                script.sql.split(&format!("{table} (\n")).nth(1).unwrap().split(";\n").next().unwrap();
            assert!(!create.contains(" KEY ") || create.matches(" KEY").count() == 1, "{create}");
        }
    }

    fn names_of_hot_table(dialect: Dialect) -> String {
        TableNames::default().table(dialect, Table::Messages)
    }
}
