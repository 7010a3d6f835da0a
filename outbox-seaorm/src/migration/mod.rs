//! The tables as a migration of sea-orm.

mod down;
mod up;

use async_trait::async_trait;
use outbox_sql::{Dialect, Table, TableNames};
use sea_orm::{DatabaseExecutor, DbBackend, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

use crate::origin;

/// The name of each numbered migration, without what stands for the names of the tables. A name never changes: sea-orm
/// keeps it in `seaql_migrations`.
const NAMES: [(i32, &str); 1] = [(1, "m20261101_000001")];

/// The tables of the outbox, as a migration of a migrator of your own.
///
/// ```
/// use outbox_seaorm::OutboxMigration;
/// use sea_orm_migration::{MigrationTrait, MigratorTrait};
///
/// struct Migrator;
///
/// impl MigratorTrait for Migrator {
///     fn migrations() -> Vec<Box<dyn MigrationTrait>> {
///         vec![
///             // … yours …
///             Box::new(OutboxMigration::first()),
///         ]
///     }
/// }
/// # assert_eq!(Migrator::migrations()[0].name(), "m20261101_000001_outbox");
/// ```
///
/// Or append [`migrations`], which has one for each numbered migration of the outbox. A later version of this crate may
/// have more of them, and they stay in order behind those that are there today.
///
/// # `up`
///
/// Does what `store.migrate()` does: runs the same scripts, behind the same lock, and records them in
/// `outbox_migrations`. So both can be used on the same database, in any order; who comes second has nothing to do. It
/// brings the tables to the version that this crate knows, also if it is not the last of the list.
///
/// In PostgreSQL and SQLite it is one transaction. MySQL and MariaDB commit every statement of it on its own; it can be
/// run again after it was interrupted, and it refuses to run in a transaction of the caller's.
///
/// # `down`
///
/// That of the first migration drops the tables, that of a later one does nothing: a table is never brought back to an
/// older version. It refuses as long as there is a message in `outbox_messages`, `outbox_deferred` or
/// `outbox_dead_letters`, so that none is lost: let the relay deliver them first, and discard or replay the dead letters.
/// What consumers have seen (`inbox_messages`) goes with the tables.
#[derive(Debug, Clone)]
pub struct OutboxMigration {
    version: i32,
    name: String,
    names: TableNames,
}

impl OutboxMigration {
    /// The first migration, with the default names of the tables.
    #[must_use]
    pub fn first() -> Self {
        Self::new(NAMES[0], &TableNames::default())
    }

    /// The same migration of tables with other names. Its own name has their schema and prefix in it, so that one
    /// migrator can have several.
    #[must_use]
    pub fn with_names(self, names: &TableNames) -> Self {
        let known = NAMES.into_iter().find(|(version, _)| *version == self.version);
        known.map_or(self, |known| Self::new(known, names))
    }

    fn new((version, date): (i32, &str), names: &TableNames) -> Self {
        let schema = names.schema().map_or(String::new(), |schema| format!("{schema}."));
        let tables = names.plain(Table::Messages);
        let prefix = tables.strip_suffix(Table::Messages.name()).unwrap_or_default();
        Self { version, name: format!("{date}_{schema}{prefix}outbox"), names: names.clone() }
    }
}

/// All migrations of the outbox, in order, with the default names of the tables. Append them to yours.
#[must_use]
pub fn migrations() -> Vec<Box<dyn MigrationTrait>> {
    migrations_with_names(&TableNames::default())
}

/// The same with other names of the tables.
#[must_use]
pub fn migrations_with_names(names: &TableNames) -> Vec<Box<dyn MigrationTrait>> {
    NAMES.into_iter().map(|known| Box::new(OutboxMigration::new(known, names)) as Box<_>).collect()
}

impl MigrationName for OutboxMigration {
    fn name(&self) -> &str {
        &self.name
    }
}

#[async_trait]
// With async-trait, a lifetime that is written out is another one than that of the trait.
#[allow(elided_lifetimes_in_paths)]
impl MigrationTrait for OutboxMigration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        up::up(manager.get_connection(), dialect(manager)?, &self.names).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if self.version > NAMES[0].0 {
            return Ok(());
        }
        down::down(manager.get_connection(), dialect(manager)?, &self.names).await
    }
}

fn dialect(manager: &SchemaManager<'_>) -> Result<Dialect, DbErr> {
    match manager.get_database_backend() {
        DbBackend::Postgres if cfg!(feature = "postgres") => Ok(Dialect::Postgres),
        DbBackend::MySql if cfg!(feature = "mysql") => Ok(Dialect::MySql),
        DbBackend::Sqlite if cfg!(feature = "sqlite") => Ok(Dialect::Sqlite),
        backend => Err(origin::feature_off(backend)),
    }
}

/// MySQL and MariaDB commit with each statement that makes or drops a table, and a transaction of the caller's with it.
fn in_no_transaction(connection: &DatabaseExecutor<'_>, dialect: Dialect) -> Result<(), DbErr> {
    if dialect == Dialect::MySql && connection.is_transaction() {
        let text = "MySQL and MariaDB commit every statement of a migration on its own: run the migrator through the \
                    connection, not in a transaction";
        return Err(DbErr::Migration(text.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use outbox_sql::Migrations;

    use super::*;

    #[test]
    fn each_numbered_migration_has_a_name() {
        let known: Vec<_> = NAMES.iter().map(|(version, _)| *version).collect();
        let scripts = Migrations::rendered(Dialect::Postgres, &TableNames::default());
        assert_eq!(known, scripts.iter().map(|script| script.version).collect::<Vec<_>>());
    }

    #[test]
    fn names_are_stable_and_tell_outboxes_apart() {
        let name = |names| OutboxMigration::first().with_names(&names).name().to_owned();
        assert_eq!(name(TableNames::default()), "m20261101_000001_outbox");
        let names = TableNames::new(Some("events"), "shop_").unwrap();
        assert_eq!(name(names), "m20261101_000001_events.shop_outbox");
    }
}
