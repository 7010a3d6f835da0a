use outbox_sql::{Dialect, Table, TableNames};
use sea_orm::{ConnectionTrait, DatabaseExecutor, DatabaseTransaction, DbErr, Statement};

use super::in_no_transaction;
use crate::driver::begin;

/// Runs the script that undoes a migration, unless there are messages in the tables. Nobody can write one between the
/// look and the end of it.
pub(super) async fn down(
    connection: &DatabaseExecutor<'_>,
    dialect: Dialect,
    names: &TableNames,
    script: &str,
) -> Result<(), DbErr> {
    in_no_transaction(connection, dialect)?;
    let tables = Tables { dialect, names };
    let transaction = begin(connection).await?;
    match dialect {
        Dialect::Postgres => {
            let lock = format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", tables.list(&WITH_MESSAGES, ""));
            transaction.execute_unprepared(&lock).await?;
            tables.undo(&transaction, script).await?;
        }
        // Its statements commit, so there is no transaction to lock anything in.
        Dialect::MySql => {
            let lock = format!("LOCK TABLES {}", tables.list(&Table::ALL, " WRITE"));
            transaction.execute_unprepared(&lock).await?;
            let undone = tables.undo(&transaction, script).await;
            transaction.execute_unprepared("UNLOCK TABLES").await?;
            undone?;
        }
        // The transaction is the only one that writes.
        _ => tables.undo(&transaction, script).await?,
    }
    transaction.commit().await
}

/// Where messages are.
const WITH_MESSAGES: [Table; 3] = [Table::Messages, Table::Deferred, Table::DeadLetters];

struct Tables<'a> {
    dialect: Dialect,
    names: &'a TableNames,
}

impl Tables<'_> {
    fn name(&self, table: Table) -> String {
        self.names.table(self.dialect, table)
    }

    /// Their names, each with something behind it.
    fn list(&self, tables: &[Table], suffix: &str) -> String {
        let names = tables.iter().map(|&table| format!("{}{suffix}", self.name(table)));
        names.collect::<Vec<_>>().join(", ")
    }

    async fn undo(&self, transaction: &DatabaseTransaction, script: &str) -> Result<(), DbErr> {
        for table in WITH_MESSAGES {
            let sql = format!("SELECT 1 FROM {} LIMIT 1", self.name(table));
            let look = Statement::from_string(transaction.get_database_backend(), sql);
            if transaction.query_one_raw(look).await?.is_some() {
                return Err(DbErr::Migration(format!(
                    "there are messages in {}, which would be lost: let the relay deliver them, and replay or discard \
                     the dead letters",
                    self.name(table)
                )));
            }
        }
        transaction.execute_unprepared(script).await.map(drop)
    }
}
