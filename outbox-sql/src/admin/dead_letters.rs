use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::SystemTime;

use outbox_core::{DeadLetter, DeadLetterQuery, MessageId, OperatorAction, StoreError};

use super::Admin;
use crate::columns::message_columns;
use crate::message_row::time;
use crate::{Row, Session, Table, Value};

/// Bytes of messages in one list: beyond it the list ends early.
const BYTES: usize = 64 * 1024 * 1024;

impl Admin<'_> {
    /// Reads the messages and what is known about each, in two statements with the same conditions. What was removed in
    /// between is left out.
    pub(super) async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Vec<DeadLetter>, StoreError> {
        if query.limit == 0 {
            return Ok(Vec::new());
        }
        let (conditions, values) = self.conditions(query);
        let details = self.details(&conditions, values.clone()).await?;
        // A dead letter is listed whatever its shard.
        let columns = message_columns(self.dialect(), Table::DeadLetters, "0");
        let sql = format!("SELECT {columns} FROM {} AS m {conditions}", self.words.dead_letters);
        let statement = self.statement(&sql, values);
        let claim = self.driver.messages(Session::Control, statement, query.limit, BYTES).await?;
        let letters = claim.rows.into_iter().filter_map(|row| {
            let details = details.get(&row.row.number)?;
            Some(DeadLetter {
                seq: row.seq,
                message: row.message,
                reason: details.reason.clone(),
                attempts: row.attempts,
                last_error: details.last_error.clone(),
                died_at: details.died_at,
                parked_behind: details.parked_behind,
                requested: details.requested,
            })
        });
        let mut letters: Vec<_> = letters.collect();
        letters.sort_by_key(|letter| Reverse(letter.died_at));
        Ok(letters)
    }

    fn conditions(&self, query: &DeadLetterQuery) -> (String, Vec<Value<'static>>) {
        let mut sql = "WHERE true".to_owned();
        let mut values = Vec::new();
        // Few rows have the same id, and asking for an order as well would make PostgreSQL read all in that order.
        let mut order = " ORDER BY m.died_at DESC, m.number DESC";
        if let Some(id) = &query.id {
            sql += " AND m.id = ?";
            values.push(self.id(id));
            order = "";
        }
        if let Some(topic) = &query.topic {
            sql += " AND m.topic = ?";
            values.push(topic.clone().into());
        }
        values.push(i64::try_from(query.limit).unwrap_or(i64::MAX).into());
        (format!("{sql}{order} LIMIT ?"), values)
    }

    async fn details(
        &self,
        conditions: &str,
        values: Vec<Value<'_>>,
    ) -> Result<HashMap<i64, Details>, StoreError> {
        let sql = format!(
            "SELECT m.number, m.reason, m.last_error, {}, m.parked_behind, r.action FROM {} AS m \
             LEFT JOIN {} AS r ON r.message_id = m.id {conditions}",
            self.dialect().epoch_us("m.died_at"),
            self.words.dead_letters,
            self.words.requests,
        );
        let rows = self.query(&sql, values).await?;
        rows.iter().map(|row| Ok((row.i64(0)?.unwrap_or_default(), Details::read(row)?))).collect()
    }
}

/// What is known about a dead letter beside its message.
struct Details {
    reason: String,
    last_error: Option<String>,
    died_at: SystemTime,
    parked_behind: Option<MessageId>,
    requested: Option<OperatorAction>,
}

impl Details {
    fn read(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            reason: row.text(1)?.unwrap_or_default().to_owned(),
            last_error: row.text(2)?.map(str::to_owned),
            died_at: time(row.i64(3)?.unwrap_or_default()),
            parked_behind: row
                .bytes(4)?
                .and_then(|id| uuid::Uuid::from_slice(id).ok())
                .map(MessageId::from_uuid),
            requested: row.text(5)?.and_then(action),
        })
    }
}

fn action(stored: &str) -> Option<OperatorAction> {
    [OperatorAction::Replay, OperatorAction::Discard].into_iter().find(|action| action.as_str() == stored)
}
