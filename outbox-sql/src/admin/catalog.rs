use outbox_core::StoreError;

use super::Admin;
use super::shape::Null;
use crate::{Dialect, Row, Table, Value};

impl Admin<'_> {
    /// The columns of a table; none if it does not exist.
    pub(super) async fn columns_of(&self, table: Table) -> Result<Vec<Column>, StoreError> {
        let (sql, values) = match self.dialect() {
            Dialect::Postgres => (
                "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), (NOT a.attnotnull)::int::int8 \
                 FROM pg_attribute AS a \
                 WHERE a.attrelid = to_regclass(?::text) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
                vec![self.table(table).into()],
            ),
            Dialect::MySql => (
                "SELECT CAST(column_name AS CHAR), CAST(CASE \
                   WHEN data_type = 'datetime' THEN concat(data_type, '(', datetime_precision, ')') \
                   WHEN data_type IN ('binary', 'varbinary') THEN concat(data_type, '(', character_maximum_length, ')') \
                   WHEN data_type = 'varchar' \
                     THEN concat(data_type, '(', character_maximum_length, ') ', collation_name) \
                   WHEN data_type = 'mediumtext' THEN concat(data_type, ' ', collation_name) \
                   WHEN data_type = 'longtext' THEN 'json' \
                   ELSE data_type END AS CHAR), CAST(is_nullable = 'YES' AS SIGNED) \
                 FROM information_schema.columns WHERE table_schema = coalesce(?, database()) AND table_name = ? \
                 ORDER BY ordinal_position",
                self.in_catalog(table),
            ),
            Dialect::Sqlite => (
                "SELECT name, upper(type), \"notnull\" = 0 AND pk = 0 FROM pragma_table_info(?) ORDER BY cid",
                vec![self.names.plain(table).into()],
            ),
        };
        self.query(sql, values).await?.iter().map(Column::read).collect()
    }

    /// The columns of the primary key and of each index, separated by commas.
    pub(super) async fn indexes_of(&self, table: Table) -> Result<Vec<String>, StoreError> {
        let (sql, values) = match self.dialect() {
            Dialect::Postgres => (
                "SELECT (SELECT string_agg(pg_get_indexdef(i.indexrelid, k, false), ',' ORDER BY k) \
                   FROM generate_series(1, i.indnkeyatts::int) AS k) \
                 FROM pg_index AS i WHERE i.indrelid = to_regclass(?::text) AND i.indisvalid",
                vec![self.table(table).into()],
            ),
            Dialect::MySql => (
                "SELECT CAST(group_concat(column_name ORDER BY seq_in_index) AS CHAR) \
                 FROM information_schema.statistics WHERE table_schema = coalesce(?, database()) AND table_name = ? \
                 GROUP BY index_name",
                self.in_catalog(table),
            ),
            Dialect::Sqlite => (
                "SELECT group_concat(name) FROM (SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk) \
                 UNION ALL \
                 SELECT (SELECT group_concat(name) FROM (SELECT name FROM pragma_index_info(l.name) ORDER BY seqno)) \
                   FROM pragma_index_list(?) AS l WHERE l.origin <> 'pk'",
                vec![self.names.plain(table).into(), self.names.plain(table).into()],
            ),
        };
        let rows = self.query(sql, values).await?;
        rows.iter().map(|row| Ok(row.text(0)?.unwrap_or_default().to_owned())).collect()
    }

    /// A table as the catalogs of MySQL name it.
    pub(super) fn in_catalog(&self, table: Table) -> Vec<Value<'_>> {
        vec![self.schema(), self.names.plain(table).into()]
    }
}

/// A column as the catalog has it.
pub(super) struct Column {
    pub(super) name: String,
    pub(super) of: String,
    pub(super) null: Null,
}

impl Column {
    fn read(row: &Row) -> Result<Self, StoreError> {
        let text = |column| Ok::<_, StoreError>(row.text(column)?.unwrap_or_default().to_owned());
        let null = if row.i64(2)? == Some(0) { Null::No } else { Null::Yes };
        Ok(Self { name: text(0)?, of: text(1)?, null })
    }
}
