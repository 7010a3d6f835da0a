use sea_orm::{ConnectionTrait, DatabaseExecutor, DatabaseTransaction, DbErr};

/// A connection that holds an open transaction: what [`crate::SeaOrmWriter`] writes through, and
/// [`crate::SeaOrmInbox`] admits through.
///
/// sea-orm's `DatabaseConnection` is a pool and none of these. A message that is written or admitted through a pool is
/// committed on its own, whatever becomes of the business data beside it, and so this does not compile:
///
/// ```compile_fail,E0277
/// # async fn example(
/// #     db: sea_orm::DatabaseConnection,
/// #     outbox: outbox_seaorm::SeaOrmWriter,
/// #     message: outbox_core::OutboxMessage,
/// # ) -> Result<(), sea_orm::DbErr> {
/// outbox.enqueue(&db, &message).await
/// # }
/// ```
///
/// A wrapper of your own implements it when its statements run in the transaction that it holds. A
/// `RestrictedTransaction` of sea-orm's feature `rbac` needs such a wrapper, too.
///
/// ```
/// # use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult, Statement};
/// use outbox_seaorm::TransactionConnection;
///
/// struct Audited(DatabaseTransaction);
///
/// #[async_trait::async_trait]
/// impl ConnectionTrait for Audited {
///     fn get_database_backend(&self) -> DbBackend {
///         self.0.get_database_backend()
///     }
///
///     async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
///         // … writes down who did it …
///         self.0.execute_raw(statement).await
///     }
/// #     async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
/// #         self.0.execute_unprepared(sql).await
/// #     }
/// #     async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
/// #         self.0.query_one_raw(statement).await
/// #     }
/// #     async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
/// #         self.0.query_all_raw(statement).await
/// #     }
///     // … and so on …
/// }
///
/// impl TransactionConnection for Audited {}
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not known to be a transaction",
    label = "a message that is written or admitted through this is a dual write",
    note = "pass the open transaction of the business data: what `db.begin()` returns or `db.transaction(|txn| …)` gets",
    note = "a wrapper of your own around a transaction implements `outbox_seaorm::TransactionConnection`"
)]
pub trait TransactionConnection: ConnectionTrait {
    /// Looks at run time whether there is an open transaction, for a type that can be either.
    ///
    /// # Errors
    ///
    /// If there is none.
    fn check_transaction(&self) -> Result<(), DbErr> {
        Ok(())
    }
}

impl TransactionConnection for DatabaseTransaction {}

/// It is one or the other; a pool is refused at run time, before anything is written.
impl TransactionConnection for DatabaseExecutor<'_> {
    fn check_transaction(&self) -> Result<(), DbErr> {
        if self.is_transaction() {
            return Ok(());
        }
        Err(DbErr::Custom(
            "a message can be enqueued or admitted in a transaction only: this executor has a pool"
                .to_owned(),
        ))
    }
}
