//! The tables as a migration of sea-orm.

mod down;
mod up;

use async_trait::async_trait;
use outbox_sql::{Dialect, MigrationScript, Migrations, Table, TableNames};
use sea_orm::{DatabaseExecutor, DbBackend, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

use crate::origin;

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
/// Undoes the migration: that of the first one drops the tables. It refuses as long as there is a message in
/// `outbox_messages`, `outbox_deferred` or `outbox_dead_letters`, so that none is lost: let the relay deliver them first,
/// and discard or replay the dead letters. The tables are locked for it, so it waits for the producers whose transactions
/// are open. What consumers have seen (`inbox_messages`) goes with the tables.
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
        // There always is one.
        Self::all(&TableNames::default()).swap_remove(0)
    }

    /// The same migration of tables with other names. Its own name has their schema and prefix in it, so that one
    /// migrator can have several.
    #[must_use]
    pub fn with_names(self, names: &TableNames) -> Self {
        Self::all(names).into_iter().find(|migration| migration.version == self.version).unwrap_or(self)
    }

    fn all(names: &TableNames) -> Vec<Self> {
        let schema = names.schema().map_or(String::new(), |schema| format!("{schema}."));
        let tables = names.plain(Table::Messages);
        let prefix = tables.strip_suffix(Table::Messages.name()).unwrap_or_default();
        // Neither version nor name nor day depends on the dialect, and none of them ever changes: sea-orm keeps the name
        // of a migration in `seaql_migrations`.
        let named = |script: MigrationScript| {
            let MigrationScript { version, name, date, .. } = script;
            let name = format!("m{date}_{version:06}_{schema}{prefix}{name}");
            Self { version, name, names: names.clone() }
        };
        Migrations::rendered(Dialect::Postgres, names).into_iter().map(named).collect()
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
    OutboxMigration::all(names).into_iter().map(|migration| Box::new(migration) as Box<_>).collect()
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
        let dialect = dialect(manager)?;
        let scripts = Migrations::rendered(dialect, &self.names);
        match scripts.into_iter().find(|script| script.version == self.version) {
            Some(script) => down::down(manager.get_connection(), dialect, &self.names, &script.down).await,
            None => Err(DbErr::Migration(format!("there is no migration {} of the outbox", self.version))),
        }
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
    use super::*;

    #[test]
    fn names_are_stable_and_tell_outboxes_apart() {
        let name = |names| OutboxMigration::first().with_names(&names).name().to_owned();
        assert_eq!(name(TableNames::default()), "m20261101_000001_outbox");
        let names = TableNames::new(Some("events"), "shop_").unwrap();
        assert_eq!(name(names), "m20261101_000001_events.shop_outbox");
    }
}
