use outbox_core::{MessageId, OperatorAction, StoreError};

use super::Admin;
use crate::{Dialect, Session, Step};

/// Ids in one statement.
const AT_ONCE: usize = 500;

impl Admin<'_> {
    /// Writes down what an operator wants. A later request replaces an earlier one that nobody has carried out.
    pub(super) async fn request(&self, ids: &[MessageId], action: OperatorAction) -> Result<u64, StoreError> {
        let mut asked = 0;
        for ids in ids.chunks(AT_ONCE) {
            asked += self.request_some(ids, action).await?;
        }
        Ok(asked)
    }

    async fn request_some(&self, ids: &[MessageId], action: OperatorAction) -> Result<u64, StoreError> {
        let (requests, dead, deferred) =
            (&self.words.requests, &self.words.dead_letters, &self.words.deferred);
        let list = vec!["?"; ids.len()].join(", ");
        let bound = || ids.iter().map(|id| self.id(id));
        let (ignore, or_nothing) = match self.dialect() {
            Dialect::MySql => ("IGNORE ", ""),
            Dialect::Postgres | Dialect::Sqlite => ("", " ON CONFLICT (message_id) DO NOTHING"),
        };
        let forget = format!("DELETE FROM {requests} WHERE message_id IN ({list})");
        // A message that was tried can be asked for while it waits for its next try.
        let write = format!(
            "INSERT {ignore}INTO {requests} (message_id, action) \
             SELECT id, '{}' FROM (\
               SELECT id FROM {dead} WHERE id IN ({list}) \
               UNION \
               SELECT id FROM {deferred} WHERE id IN ({list}) AND attempts > 0 AND due_at IS NOT NULL\
             ) AS known WHERE true{or_nothing}",
            action.as_str()
        );
        let steps = vec![
            Step::Also(self.statement(&forget, bound().collect())),
            Step::Write(self.statement(&write, bound().chain(bound()).collect())),
        ];
        Ok(self.driver.transaction(Session::Control, steps).await?.applied)
    }
}
