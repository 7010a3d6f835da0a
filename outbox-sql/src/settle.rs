use std::sync::Arc;

use outbox_core::{Fence, Outcome, RowId, Settled, StoreError};

use crate::moves::{Moves, delete};
use crate::operator::Operator;
use crate::plan::{Plan, range};
use crate::vocabulary::Vocabulary;
use crate::{Dialect, Driver, Session, SqlStore, Statement, Step, Value, fence};

/// The texts of settles.
///
/// A settle of many kinds is a transaction: the fence first, then one statement per kind and table, however many rows
/// there are. What nearly every settle is, the delete of what was delivered, is one single statement in PostgreSQL.
#[derive(Debug)]
pub(crate) struct Settles {
    delete: Arc<str>,
    delete_range: Arc<str>,
    fenced: Option<Fenced>,
    moves: Moves,
    operator: Operator,
}

/// Deletes with the fence in the same statement.
#[derive(Debug)]
struct Fenced {
    delete: Arc<str>,
    delete_range: Arc<str>,
}

impl Settles {
    pub(crate) fn new(words: &Vocabulary) -> Self {
        let list = delete(words, &words.messages, "seq");
        let range = format!("DELETE FROM {} WHERE seq BETWEEN ? AND ?", words.messages);
        let fenced = (words.dialect == Dialect::Postgres).then(|| {
            // Without a column of the table, the condition is decided once and before any row is read; by then the
            // shards are locked, and stay so until the delete is committed.
            let fence = fence::matching(words, " FOR SHARE OF s");
            let text = |delete: &str| {
                words.text(&format!(
                    "WITH fence AS MATERIALIZED (SELECT count(*) AS shards FROM {fence}) \
                     {delete} AND (SELECT shards FROM fence) = ?"
                ))
            };
            Fenced { delete: text(&list), delete_range: text(&range) }
        });
        Self {
            delete: words.text(&list),
            delete_range: words.text(&range),
            fenced,
            moves: Moves::new(words),
            operator: Operator::new(words),
        }
    }
}

impl<D: Driver> SqlStore<D> {
    pub(crate) async fn carry_out(
        &self,
        fence: &Fence,
        outcomes: &[(RowId, Outcome)],
    ) -> Result<Settled, StoreError> {
        let plan = Plan::of(outcomes);
        match &self.settles.fenced {
            Some(fenced) if plan.only_delivers_fresh() => self.delete_fenced(fenced, fence, &plan).await,
            _ => self.run(fence, &plan).await,
        }
    }

    async fn delete_fenced(
        &self,
        texts: &Fenced,
        fence: &Fence,
        plan: &Plan<'_>,
    ) -> Result<Settled, StoreError> {
        let mut values = fence::values(self.words.dialect, fence);
        let text =
            self.push_delivered(&mut values, &plan.delivered_fresh, &texts.delete, &texts.delete_range);
        values.push(Value::from(fence::expected(fence)));
        let steps = vec![Step::Write(Statement::new(text, values))];
        let applied = self.driver.transaction(Session::Settle, steps).await?.applied;
        if applied > 0 {
            return Ok(Settled { applied, stale: false });
        }
        // Either the rows were gone or the fence did not hold. An epoch never comes back: if it holds now, it did then.
        let rows = self.driver.query(Session::Settle, self.fences.plain(fence)).await?;
        let holds = rows.first().map_or(Ok(0), |row| row.number(0))? == fence::expected(fence);
        Ok(Settled { applied: 0, stale: !holds })
    }

    async fn run(&self, fence: &Fence, plan: &Plan<'_>) -> Result<Settled, StoreError> {
        let (words, moves) = (&self.words, &self.settles.moves);
        let fence = if plan.moves_keys() { self.fences.exclusive(fence) } else { self.fences.shared(fence) };
        let mut steps = vec![fence];
        if !plan.delivered_fresh.is_empty() {
            let (mut values, texts) = (Vec::new(), &self.settles);
            let numbers = &plan.delivered_fresh;
            let text = self.push_delivered(&mut values, numbers, &texts.delete, &texts.delete_range);
            steps.push(Step::Write(Statement::new(text, values)));
        }
        if !plan.defer_fresh.is_empty() {
            steps.extend(moves.defer_fresh(words, &plan.defer_fresh));
        }
        if !plan.defer_deferred.is_empty() {
            steps.extend(moves.defer_deferred(words, &plan.defer_deferred));
        }
        if !plan.bury_fresh.is_empty() {
            steps.extend(moves.bury_fresh(words, &plan.bury_fresh));
        }
        if !plan.bury_deferred.is_empty() {
            steps.extend(moves.bury_deferred(words, &plan.bury_deferred));
        }
        steps.extend(self.settles.operator.steps(words, plan));
        let result = self.driver.transaction(Session::Settle, steps).await?;
        Ok(Settled { applied: result.applied, stale: result.stale })
    }

    /// Pushes the values of a delete, and says which of its two texts they are for.
    fn push_delivered<'t>(
        &self,
        values: &mut Vec<Value<'_>>,
        numbers: &[i64],
        list: &'t Arc<str>,
        bounds: &'t Arc<str>,
    ) -> &'t Arc<str> {
        if let Some((first, last)) = range(numbers) {
            values.extend([Value::from(first), Value::from(last)]);
            bounds
        } else {
            values.push(self.words.numbers(numbers));
            list
        }
    }
}
