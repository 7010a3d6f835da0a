//! A transaction is a connection, as one of a pool is: what diesel runs on the one it runs on the other.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use diesel::connection::{
    CacheSize, Connection, ConnectionSealed, Instrumentation, LoadConnection, SimpleConnection,
    TransactionManager, TransactionManagerStatus,
};
use diesel::expression::QueryMetadata;
use diesel::query_builder::{Query, QueryFragment, QueryId};
use diesel::query_dsl::UpdateAndFetchResults;
use diesel::result::{ConnectionError, ConnectionResult, QueryResult};

use super::OutboxTransaction;
use crate::Backend;

impl<C: Connection<Backend: Backend>> Deref for OutboxTransaction<'_, C> {
    type Target = C;

    fn deref(&self) -> &C {
        self.connection
    }
}

impl<C: Connection<Backend: Backend>> DerefMut for OutboxTransaction<'_, C> {
    fn deref_mut(&mut self) -> &mut C {
        self.connection
    }
}

impl<C: Connection<Backend: Backend>> SimpleConnection for OutboxTransaction<'_, C> {
    fn batch_execute(&mut self, query: &str) -> QueryResult<()> {
        self.connection.batch_execute(query)
    }
}

impl<C: Connection<Backend: Backend>> ConnectionSealed for OutboxTransaction<'_, C> {}

impl<C: Connection<Backend: Backend>> Connection for OutboxTransaction<'_, C> {
    type Backend = C::Backend;
    type TransactionManager = Savepoints<C::TransactionManager>;

    fn establish(_: &str) -> ConnectionResult<Self> {
        Err(ConnectionError::BadConnection("a transaction is begun on a connection that is there".to_owned()))
    }

    fn execute_returning_count<T>(&mut self, source: &T) -> QueryResult<usize>
    where
        T: QueryFragment<Self::Backend> + QueryId,
    {
        self.connection.execute_returning_count(source)
    }

    fn transaction_state(
        &mut self,
    ) -> &mut <Self::TransactionManager as TransactionManager<Self>>::TransactionStateData {
        self.connection.transaction_state()
    }

    fn instrumentation(&mut self) -> &mut dyn Instrumentation {
        self.connection.instrumentation()
    }

    fn set_instrumentation(&mut self, instrumentation: impl Instrumentation) {
        self.connection.set_instrumentation(instrumentation);
    }

    fn set_prepared_statement_cache_size(&mut self, size: CacheSize) {
        self.connection.set_prepared_statement_cache_size(size);
    }
}

impl<M, C> LoadConnection<M> for OutboxTransaction<'_, C>
where
    C: LoadConnection<M> + Connection<Backend: Backend>,
{
    type Cursor<'conn, 'query>
        = C::Cursor<'conn, 'query>
    where
        Self: 'conn;
    type Row<'conn, 'query>
        = C::Row<'conn, 'query>
    where
        Self: 'conn;

    fn load<'conn, 'query, T>(&'conn mut self, source: T) -> QueryResult<Self::Cursor<'conn, 'query>>
    where
        T: Query + QueryFragment<Self::Backend> + QueryId + 'query,
        Self::Backend: QueryMetadata<T::SqlType>,
    {
        self.connection.load(source)
    }
}

impl<Changes, Output, C> UpdateAndFetchResults<Changes, Output> for OutboxTransaction<'_, C>
where
    C: UpdateAndFetchResults<Changes, Output> + Connection<Backend: Backend>,
{
    fn update_and_fetch(&mut self, changes: Changes) -> QueryResult<Output> {
        self.connection.update_and_fetch(changes)
    }
}

/// Nested transactions, which take the messages along that were added in them.
#[derive(Debug)]
pub struct Savepoints<M>(PhantomData<M>);

impl<'c, M, C> TransactionManager<OutboxTransaction<'c, C>> for Savepoints<M>
where
    C: Connection<Backend: Backend, TransactionManager = M>,
    M: TransactionManager<C>,
{
    type TransactionStateData = M::TransactionStateData;

    fn begin_transaction(transaction: &mut OutboxTransaction<'c, C>) -> QueryResult<()> {
        M::begin_transaction(transaction.connection)?;
        transaction.nested.push(transaction.messages.len());
        Ok(())
    }

    fn rollback_transaction(transaction: &mut OutboxTransaction<'c, C>) -> QueryResult<()> {
        let before = transaction.nested.pop();
        transaction.messages.truncate(before.unwrap_or(usize::MAX));
        M::rollback_transaction(transaction.connection)
    }

    fn commit_transaction(transaction: &mut OutboxTransaction<'c, C>) -> QueryResult<()> {
        let before = transaction.nested.pop();
        let committed = M::commit_transaction(transaction.connection);
        if committed.is_err() {
            // diesel has rolled it back, or the whole can't be committed any more.
            transaction.messages.truncate(before.unwrap_or(usize::MAX));
        }
        committed
    }

    fn transaction_manager_status_mut<'t>(
        transaction: &'t mut OutboxTransaction<'c, C>,
    ) -> &'t mut TransactionManagerStatus {
        M::transaction_manager_status_mut(transaction.connection)
    }
}
