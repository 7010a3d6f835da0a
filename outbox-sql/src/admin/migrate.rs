use outbox_core::{Migration, StoreError};

use super::Admin;
use crate::{Dialect, MigrationScript, Migrations};

impl Admin<'_> {
    /// Applies what is missing. Of two that do so at once, one waits, fails at what the other has done, and then sees
    /// that it was done.
    pub(super) async fn migrate(&self) -> Result<Vec<Migration>, StoreError> {
        let mut known = self.versions().await?;
        let mut applied = Vec::new();
        for script in Migrations::rendered(self.dialect(), self.names) {
            if known.contains(&script.version) {
                continue;
            }
            match self.driver.script(&self.locked(&script)).await {
                Ok(()) => applied.push(Migration { version: script.version, name: script.name.to_owned() }),
                Err(error) => {
                    known = self.versions().await?;
                    if !known.contains(&script.version) {
                        return Err(error);
                    }
                }
            }
        }
        // Tables of a later version are not of this one.
        self.check().await?;
        Ok(applied)
    }

    /// The script behind a lock that only migrations of the same tables take.
    fn locked(&self, script: &MigrationScript) -> String {
        let table = self.names.messages();
        let sql = &script.sql;
        match self.dialect() {
            // The relay's time limits are not for migrations. All of this ends with the transaction.
            Dialect::Postgres => format!(
                "SET LOCAL statement_timeout = 0;\nSET LOCAL lock_timeout = 0;\n\
                 SELECT pg_advisory_xact_lock(hashtextextended('migrate {}.{table}', 0));\n{sql}",
                self.names.schema().unwrap_or_default()
            ),
            // Every statement commits on its own there, and can be run twice; the lock only keeps two from disturbing
            // each other. It is gone before the last statement, which is the one that may fail.
            Dialect::MySql => {
                let schema =
                    self.names.schema().map_or("database()".to_owned(), |schema| format!("'{schema}'"));
                let lock = format!("concat('outbox ', sha1(concat({schema}, '.{table}')))");
                let (tables, record) = sql.rsplit_once("INSERT INTO").unwrap_or((sql, ""));
                format!("DO get_lock({lock}, 60);\n{tables}DO release_lock({lock});\nINSERT INTO{record}")
            }
            // The driver begins a transaction that is the only one to write.
            Dialect::Sqlite => sql.clone(),
        }
    }
}
