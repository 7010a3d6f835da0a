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

    /// The primary key and each index.
    pub(super) async fn indexes_of(&self, table: Table) -> Result<Vec<Index>, StoreError> {
        let (sql, values) = match self.dialect() {
            Dialect::Postgres => (
                "SELECT (SELECT string_agg(pg_get_indexdef(i.indexrelid, k, false), ',' ORDER BY k) \
                   FROM generate_series(1, i.indnkeyatts::int) AS k), pg_get_expr(i.indpred, i.indrelid) \
                 FROM pg_index AS i WHERE i.indrelid = to_regclass(?::text) AND i.indisvalid",
                vec![self.table(table).into()],
            ),
            Dialect::MySql => (
                "SELECT CAST(group_concat(column_name ORDER BY seq_in_index) AS CHAR), NULL \
                 FROM information_schema.statistics WHERE table_schema = coalesce(?, database()) AND table_name = ? \
                 GROUP BY index_name",
                self.in_catalog(table),
            ),
            Dialect::Sqlite => (
                "SELECT group_concat(name), NULL FROM (SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk) \
                 UNION ALL \
                 SELECT (SELECT group_concat(name) FROM (SELECT name FROM pragma_index_info(l.name) ORDER BY seqno)), \
                   (SELECT substr(m.sql, instr(upper(m.sql), ' WHERE ') + 7) FROM sqlite_master AS m \
                     WHERE l.partial AND m.type = 'index' AND m.name = l.name) \
                   FROM pragma_index_list(?) AS l WHERE l.origin <> 'pk'",
                vec![self.names.plain(table).into(), self.names.plain(table).into()],
            ),
        };
        let rows = self.query(sql, values).await?;
        rows.iter().map(Index::read).collect()
    }

    /// A table as the catalogs of MySQL name it.
    pub(super) fn in_catalog(&self, table: Table) -> Vec<Value<'_>> {
        vec![self.schema(), self.names.plain(table).into()]
    }
}

/// An index, or the primary key, as the catalog has it.
pub(super) struct Index {
    /// Separated by commas.
    pub(super) columns: String,
    /// Which rows are in it; all of them if it is empty.
    pub(super) predicate: String,
}

impl Index {
    fn read(row: &Row) -> Result<Self, StoreError> {
        let columns = row.text(0)?.unwrap_or_default().to_owned();
        let predicate = row.text(1)?.unwrap_or_default().trim();
        // PostgreSQL puts it in parentheses.
        let bare = predicate.strip_prefix('(').and_then(|inner| inner.strip_suffix(')'));
        Ok(Self { columns, predicate: bare.unwrap_or(predicate).to_owned() })
    }

    /// Whether it serves where this one is expected: `columns` or `columns WHERE predicate`. One of all rows serves, too.
    pub(super) fn serves(&self, expected: &str) -> bool {
        let (columns, predicate) = expected.split_once(" WHERE ").unwrap_or((expected, ""));
        let rows = self.predicate.is_empty() || self.predicate.eq_ignore_ascii_case(predicate);
        self.columns == columns && rows
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cell;

    #[test]
    fn an_index_serves_with_all_the_rows_that_are_looked_for() {
        let index = |predicate: Cell| {
            Index::read(&Row(vec![Cell::Text("ordering_key,seq".to_owned()), predicate])).unwrap()
        };
        let (full, partial) = ("ordering_key,seq", "ordering_key,seq WHERE parked_behind IS NOT NULL");
        assert!(index(Cell::Null).serves(full) && index(Cell::Null).serves(partial));
        for text in ["(parked_behind IS NOT NULL)", "parked_behind is not null"] {
            let index = index(Cell::Text(text.to_owned()));
            assert!(index.serves(partial) && !index.serves(full));
        }
        assert!(!index(Cell::Text("(parked_behind IS NULL)".to_owned())).serves(partial));
        assert!(!index(Cell::Null).serves("ordering_key"));
    }
}
