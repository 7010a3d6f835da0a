use outbox_core::{SchemaDrift, StoreError};

use super::Admin;
use super::catalog::{Column, Index};
use super::diagnose::{ISOLATION, is_read_committed};
use super::shape::{Null, SHAPES, Shape};
use crate::{Dialect, Migrations, Table};

impl Admin<'_> {
    pub(super) async fn schema_check(&self) -> Result<Vec<SchemaDrift>, StoreError> {
        let mut drifts = self.tables_check().await?;
        if let Some(level) = self.isolation_level().await?.filter(|level| !is_read_committed(level)) {
            drifts.push(SchemaDrift {
                object: ISOLATION.to_owned(),
                problem: format!("{level} on the relay's connections, expected read committed"),
            });
        }
        Ok(drifts)
    }

    pub(super) async fn tables_check(&self) -> Result<Vec<SchemaDrift>, StoreError> {
        let mut drifts = Vec::new();
        for shape in &SHAPES {
            let columns = self.columns_of(shape.table).await?;
            if columns.is_empty() {
                drifts.push(self.drift(shape.table, "", "the table is missing"));
                continue;
            }
            self.compare_columns(shape, &columns, &mut drifts);
            let indexes = self.indexes_of(shape.table).await?;
            self.compare_indexes(shape, &indexes, &mut drifts);
            match shape.table {
                Table::Messages => self.check_numbers(&mut drifts).await?,
                Table::Shards => self.check_shards(&mut drifts).await?,
                Table::Migrations => self.check_versions(&mut drifts).await?,
                _ => {}
            }
        }
        Ok(drifts)
    }

    fn drift(&self, table: Table, column: &str, problem: impl Into<String>) -> SchemaDrift {
        let table = self.names.plain(table);
        let object = if column.is_empty() { table } else { format!("{table}.{column}") };
        SchemaDrift { object, problem: problem.into() }
    }

    fn compare_columns(&self, shape: &Shape, found: &[Column], drifts: &mut Vec<SchemaDrift>) {
        for &(name, of, null) in shape.columns {
            let Some(column) = found.iter().find(|column| column.name == name) else {
                drifts.push(self.drift(shape.table, name, "the column is missing"));
                continue;
            };
            let expected = of.name(self.dialect());
            if column.of != expected {
                let problem = format!("expected type {expected}, found {}", column.of);
                drifts.push(self.drift(shape.table, name, problem));
            }
            if column.null != null {
                let problem = match null {
                    Null::Yes => "null must be allowed",
                    Null::No => "null must not be allowed",
                };
                drifts.push(self.drift(shape.table, name, problem));
            }
        }
        let known = |name: &str| shape.columns.iter().any(|(known, ..)| *known == name);
        for column in found.iter().filter(|column| !known(&column.name)) {
            drifts.push(self.drift(shape.table, &column.name, "no migration made this column"));
        }
    }

    fn compare_indexes(&self, shape: &Shape, found: &[Index], drifts: &mut Vec<SchemaDrift>) {
        for expected in
            shape.indexes.iter().filter(|expected| !found.iter().any(|index| index.serves(expected)))
        {
            drifts.push(self.drift(shape.table, "", format!("the index on ({expected}) is missing")));
        }
        // Elsewhere another index does no harm.
        if shape.table == Table::Messages {
            let other = |index: &&Index| !shape.indexes.iter().any(|expected| index.serves(expected));
            for Index { columns, .. } in found.iter().filter(other) {
                let problem = format!(
                    "the index on ({columns}) slows every producer down and may change the plans of reads"
                );
                drifts.push(self.drift(shape.table, "", problem));
            }
        }
    }

    /// Numbers must be given out one by one, never twice, and together with their transaction.
    async fn check_numbers(&self, drifts: &mut Vec<SchemaDrift>) -> Result<(), StoreError> {
        let table = Table::Messages;
        let (sql, values, problem) = match self.dialect() {
            Dialect::Postgres => (
                "SELECT count(*)::int8 FROM pg_sequence \
                 WHERE seqrelid = pg_get_serial_sequence(?::text, 'seq')::regclass AND seqcache = 1 AND seqincrement > 0",
                vec![self.table(table).into()],
                "must be an identity column with CACHE 1: otherwise sessions give out numbers in the wrong order",
            ),
            Dialect::MySql => (
                "SELECT count(*) FROM information_schema.tables AS t JOIN information_schema.columns AS c \
                   ON c.table_schema = t.table_schema AND c.table_name = t.table_name \
                 WHERE t.table_schema = coalesce(?, database()) AND t.table_name = ? AND t.engine = 'InnoDB' \
                   AND c.column_name = 'seq' AND c.extra = 'auto_increment'",
                self.in_catalog(table),
                "must be AUTO_INCREMENT in an InnoDB table: other engines have no transactions",
            ),
            Dialect::Sqlite => (
                "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ? AND upper(sql) LIKE '%AUTOINCREMENT%'",
                vec![self.names.plain(table).into()],
                "must be AUTOINCREMENT: otherwise a number is given out twice",
            ),
        };
        let rows = self.query(sql, values).await?;
        if rows.first().map(|row| row.i64(0)).transpose()?.flatten() != Some(1) {
            drifts.push(self.drift(table, "seq", problem));
        }
        Ok(())
    }

    async fn check_shards(&self, drifts: &mut Vec<SchemaDrift>) -> Result<(), StoreError> {
        let (count, most) = (self.words.number("count(*)"), self.words.number("coalesce(max(shard), -1)"));
        let sql = format!("SELECT {count}, {most} FROM {}", self.words.shards);
        for row in self.query(&sql, Vec::new()).await? {
            let (count, most) = (row.i64(0)?.unwrap_or_default(), row.i64(1)?.unwrap_or_default());
            if !(count > 0 && count.unsigned_abs().is_power_of_two() && most == count - 1) {
                let problem =
                    format!("expected a power of two of shards from 0 on, found {count}, the last is {most}");
                drifts.push(self.drift(Table::Shards, "", problem));
            }
        }
        Ok(())
    }

    async fn check_versions(&self, drifts: &mut Vec<SchemaDrift>) -> Result<(), StoreError> {
        let applied = self.versions().await?;
        let known: Vec<i32> =
            Migrations::rendered(self.dialect(), self.names).iter().map(|script| script.version).collect();
        for version in known.iter().filter(|version| !applied.contains(version)) {
            drifts.push(self.drift(Table::Migrations, "", format!("version {version} was not applied")));
        }
        for version in applied.iter().filter(|version| !known.contains(version)) {
            drifts.push(self.drift(
                Table::Migrations,
                "",
                format!("version {version} is not known to this program"),
            ));
        }
        Ok(())
    }
}
