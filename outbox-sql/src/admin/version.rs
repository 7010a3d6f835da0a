use outbox_core::{StoreError, StoreErrorKind};

use super::Admin;
use crate::{Dialect, Migrations, Table, Value};

impl Admin<'_> {
    /// Whether the tables exist, in the version this code knows.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        let found = self.versions().await?.into_iter().max().unwrap_or(0);
        let known = Migrations::latest();
        if found == known {
            return Ok(());
        }
        let (kind, text) = if found == 0 {
            (
                StoreErrorKind::NotMigrated,
                format!("{}: run `outbox migrate` or `store.migrate()`", self.missing()),
            )
        } else if found < known {
            let text = format!(
                "the outbox tables are of version {found}, this program needs version {known}: run `outbox migrate` \
                 or `store.migrate()`"
            );
            (StoreErrorKind::SchemaVersion, text)
        } else {
            let text = format!(
                "the outbox tables are of version {found}, this program knows only version {known}: deploy a version \
                 of it that knows them"
            );
            (StoreErrorKind::SchemaVersion, text)
        };
        Err(StoreError::new(kind, "check", text))
    }

    fn missing(&self) -> String {
        let table = self.names.messages();
        match self.names.schema() {
            Some(schema) => format!("the outbox tables ({table}, …) do not exist in {schema}"),
            None => format!("the outbox tables ({table}, …) do not exist in this database"),
        }
    }

    /// The migrations that were applied; none if there are no tables.
    pub(super) async fn versions(&self) -> Result<Vec<i32>, StoreError> {
        let version = self.words.number("version");
        let sql = format!("SELECT {version} FROM {}", self.table(Table::Migrations));
        let rows = match self.query(&sql, Vec::new()).await {
            Ok(rows) => rows,
            // The catalog is only asked when there is a reason to. If the table exists, either a migration has made it
            // meanwhile, or the error was another one and comes again. MariaDB lists a table that is still being made.
            Err(_) if self.exists(Table::Migrations).await? => match self.query(&sql, Vec::new()).await {
                Err(error) if error.kind() == StoreErrorKind::NotMigrated => return Ok(Vec::new()),
                rows => rows?,
            },
            Err(_) => return Ok(Vec::new()),
        };
        let version =
            |number: Option<i64>| number.and_then(|number| i32::try_from(number).ok()).unwrap_or(i32::MAX);
        rows.iter().map(|row| row.i64(0).map(version)).collect()
    }

    /// Whether a table exists where the statements look for it.
    pub(super) async fn exists(&self, table: Table) -> Result<bool, StoreError> {
        let plain = self.names.plain(table);
        let (sql, values) = match self.dialect() {
            Dialect::Postgres => {
                ("SELECT (to_regclass(?::text) IS NOT NULL)::int::int8", vec![self.table(table).into()])
            }
            Dialect::MySql => (
                "SELECT COUNT(*) FROM information_schema.tables \
                 WHERE table_schema = coalesce(?, database()) AND table_name = ?",
                vec![self.schema(), plain.into()],
            ),
            Dialect::Sqlite => {
                ("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?", vec![plain.into()])
            }
        };
        let rows = self.query(sql, values).await?;
        Ok(rows.first().map(|row| row.i64(0)).transpose()?.flatten() == Some(1))
    }

    /// The configured schema as it is bound; null stands for the connection's own.
    pub(super) fn schema(&self) -> Value<'_> {
        Value::Text(self.names.schema().map(Into::into))
    }
}
