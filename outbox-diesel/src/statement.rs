use std::marker::PhantomData;

use diesel::QueryResult;
use diesel::RunQueryDsl;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::Untyped;
use outbox_sql::Statement;

use crate::Backend;

/// A statement of `outbox-sql` as a query of diesel.
pub(crate) struct BoundStatement<'a, DB: Backend> {
    statement: Statement<'a>,
    database: PhantomData<fn() -> DB>,
}

impl<'a, DB: Backend> BoundStatement<'a, DB> {
    pub(crate) fn new(statement: Statement<'a>) -> Self {
        Self { statement, database: PhantomData }
    }
}

impl<DB: Backend> QueryFragment<DB> for BoundStatement<'_, DB> {
    /// The text has its parameters already; diesel only gets their values. Its own `sql_query` would do the same, but
    /// takes every text for one of many, and keeps none prepared.
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        if !self.statement.reuse {
            out.unsafe_to_cache_prepared();
        }
        out.push_sql(&self.statement.sql);
        self.statement.values.iter().try_for_each(|value| DB::bind(value, &mut out))
    }
}

impl<DB: Backend> QueryId for BoundStatement<'_, DB> {
    type QueryId = ();

    /// The text tells one from another.
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<DB: Backend> Query for BoundStatement<'_, DB> {
    type SqlType = Untyped;
}

impl<C, DB: Backend> RunQueryDsl<C> for BoundStatement<'_, DB> {}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use std::sync::{Arc, Mutex};

    use diesel::connection::InstrumentationEvent;
    use diesel::{Connection, SqliteConnection};
    use outbox_sql::Value;

    use super::*;

    #[test]
    fn a_statement_stays_prepared_if_its_text_is_one_of_a_few() {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let mut connection = SqliteConnection::establish(":memory:").unwrap();
        let seen = Arc::clone(&kept);
        connection.set_instrumentation(move |event: InstrumentationEvent<'_>| {
            if let InstrumentationEvent::CacheQuery { sql, .. } = event {
                seen.lock().unwrap().push(sql.to_owned());
            }
        });
        let reused: Arc<str> = "SELECT ?".into();
        for number in 0..3 {
            for statement in [
                Statement::new(&reused, vec![Value::from(number)]),
                Statement::once(format!("SELECT {number}, ?"), vec![Value::from(number)]),
            ] {
                connection.execute_returning_count(&BoundStatement::new(statement)).unwrap();
            }
        }
        assert_eq!(*kept.lock().unwrap(), ["SELECT ?"]);
    }
}
