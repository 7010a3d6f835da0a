use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use outbox_core::{
    Claim, ClaimRequest, ClaimSource, DuePosition, HoldState, KeyHold, MessageId, OperatorRequest,
    OrderingKey, RowId, Scope, Seq, StoreError, StoreErrorKind, StoredMessage,
};

use super::tables::{Deferred, Row, Tables};
use crate::clock::{Micros, between, micros};

impl Tables {
    pub(crate) fn claim(&self, request: &ClaimRequest, now: Micros) -> Result<Claim, StoreError> {
        let scope = &request.scope;
        let claim = match &request.source {
            ClaimSource::Fresh { after } => {
                let rows = self.fresh.range((Bound::Excluded(*after), Bound::Unbounded)).map(|(_, row)| row);
                self.take(
                    request,
                    rows.filter(|row| self.in_scope(row, scope)).map(|row| self.stored(row, now)),
                )
            }
            ClaimSource::Exact { seqs } => {
                let mut seqs = seqs.clone();
                seqs.sort_unstable();
                seqs.dedup();
                let rows = seqs.iter().filter_map(|seq| self.fresh.get(seq));
                self.take(
                    request,
                    rows.filter(|row| self.in_scope(row, scope)).map(|row| self.stored(row, now)),
                )
            }
            ClaimSource::Due { after } => {
                let mut rows: Vec<_> = self
                    .deferred_in(scope)
                    .filter_map(|(number, deferred)| {
                        let position = DuePosition { due_at: deferred.due_at?, number };
                        let wanted = position.due_at <= now && after.is_none_or(|after| position > after);
                        wanted.then_some((position, deferred))
                    })
                    .collect();
                rows.sort_unstable_by_key(|(position, _)| *position);
                let rows = rows.into_iter();
                self.take(
                    request,
                    rows.map(|(position, deferred)| self.stored_deferred(position.number, deferred)),
                )
            }
            ClaimSource::Held { keys, after } => {
                let mut rows: Vec<_> = self
                    .deferred_in(scope)
                    .filter(|(_, deferred)| deferred.held_behind.is_some() && deferred.row.seq > *after)
                    .filter(|(_, deferred)| deferred.row.key().is_some_and(|key| keys.contains(key)))
                    .collect();
                rows.sort_unstable_by_key(|(number, deferred)| (deferred.row.seq, *number));
                self.take(
                    request,
                    rows.into_iter().map(|(number, deferred)| self.stored_deferred(number, deferred)),
                )
            }
            other => {
                let text = format!("this store does not know how to read {other:?}");
                return Err(StoreError::new(StoreErrorKind::Invalid, "claim", text));
            }
        };
        Ok(claim)
    }

    fn take(&self, request: &ClaimRequest, rows: impl Iterator<Item = StoredMessage>) -> Claim {
        let mut claim = Claim::default();
        let mut bytes = 0;
        for row in rows.take(request.limit) {
            bytes += row.message.size();
            claim.rows.push(row);
            if bytes >= request.max_bytes {
                claim.more = true;
                return claim;
            }
        }
        claim.more = claim.rows.len() >= request.limit;
        claim
    }

    pub(crate) fn scan(&self, scope: &Scope, after: Seq, upto: Seq, limit: usize) -> Vec<Seq> {
        if after >= upto {
            return Vec::new();
        }
        self.fresh
            .range((Bound::Excluded(after), Bound::Included(upto)))
            .filter(|(_, row)| self.in_scope(row, scope))
            .map(|(seq, _)| *seq)
            .take(limit)
            .collect()
    }

    pub(crate) fn holds(&self, scope: &Scope, keys: Option<&[OrderingKey]>, limit: usize) -> Vec<KeyHold> {
        let wanted = |key: &OrderingKey| keys.is_none_or(|keys| keys.contains(key));
        let mut holds: BTreeMap<OrderingKey, KeyHold> = BTreeMap::new();
        let held = self.deferred_in(scope).filter(|(_, deferred)| deferred.held_behind.is_some()).map(
            |(_, deferred)| {
                let first = deferred.row.seq;
                (&deferred.row, HoldState::Releasing { first })
            },
        );
        let tried =
            self.deferred_in(scope).filter(|(_, deferred)| deferred.is_retrying()).map(|(_, deferred)| {
                let (head, seq) = (deferred.row.id(), deferred.row.seq);
                (&deferred.row, HoldState::Retrying { head, seq })
            });
        let parked = self.dead.values().filter_map(|dead| {
            let behind = dead.parked_behind.filter(|_| self.in_scope(&dead.row, scope))?;
            Some((&dead.row, HoldState::Parked { behind }))
        });
        // The weightier reason comes later and replaces the others: parked, retrying, releasing. Of several rows with
        // the same reason, the one that comes first in the order of its key speaks for it.
        let by_reason = [held.collect(), tried.collect(), parked.collect::<Vec<_>>()];
        let rows = by_reason.into_iter().flat_map(|mut rows| {
            rows.sort_by_key(|(row, _)| std::cmp::Reverse(row.seq));
            rows
        });
        for (row, state) in rows {
            if let Some(key) = row.key().filter(|key| wanted(key)) {
                let shard = self.shard(row);
                holds.insert(key.clone(), KeyHold { key: key.clone(), shard, state });
            }
        }
        let mut holds: Vec<KeyHold> = holds.into_values().collect();
        holds.sort_by_key(|hold| match hold.state {
            HoldState::Releasing { .. } => 0,
            HoldState::Retrying { .. } => 1,
            _ => 2,
        });
        holds.truncate(limit);
        holds
    }

    pub(crate) fn next_due(&self, scope: &Scope, now: Micros) -> Option<Duration> {
        let due_at = self.deferred_in(scope).filter_map(|(_, deferred)| deferred.due_at).min()?;
        Some(between(now, due_at))
    }

    pub(crate) fn requests(&self, scope: &Scope, limit: usize) -> Vec<OperatorRequest> {
        let found = self.requests.iter().flat_map(|(id, action)| {
            let request = move |row: RowId, stored: &Row, behind: Option<MessageId>| OperatorRequest {
                row,
                shard: self.shard(stored),
                id: *id,
                key: stored.key().cloned(),
                parked: behind.is_some(),
                stops_key: behind == Some(*id),
                action: *action,
            };
            let dead =
                self.dead.iter().filter(move |(_, dead)| dead.row.id() == *id).map(move |(number, dead)| {
                    (&dead.row, request(RowId::dead(*number), &dead.row, dead.parked_behind))
                });
            let blocked = self
                .deferred
                .iter()
                .filter(move |(_, deferred)| deferred.row.id() == *id && deferred.is_retrying())
                .map(move |(number, deferred)| {
                    (&deferred.row, request(RowId::deferred(*number), &deferred.row, None))
                });
            dead.chain(blocked)
        });
        found.filter(|(row, _)| self.in_scope(row, scope)).map(|(_, request)| request).take(limit).collect()
    }

    fn deferred_in<'a>(&'a self, scope: &'a Scope) -> impl Iterator<Item = (i64, &'a Deferred)> {
        self.deferred
            .iter()
            .filter(|(_, deferred)| self.in_scope(&deferred.row, scope))
            .map(|(number, deferred)| (*number, deferred))
    }

    fn stored(&self, row: &Row, now: Micros) -> StoredMessage {
        let mut stored = StoredMessage::fresh(row.seq, self.shard(row), row.message.clone());
        let available_at = row.message.available_at().map(micros);
        stored.due_in = available_at.filter(|at| *at > now).map(|at| between(now, at));
        stored.defect.clone_from(&row.defect);
        stored
    }

    fn stored_deferred(&self, number: i64, deferred: &Deferred) -> StoredMessage {
        StoredMessage {
            row: RowId::deferred(number),
            attempts: deferred.attempts,
            held: deferred.held_behind.is_some(),
            due_in: None,
            due_position: deferred.due_at.map(|due_at| DuePosition { due_at, number }),
            defect: deferred.row.defect.clone(),
            ..StoredMessage::fresh(deferred.row.seq, self.shard(&deferred.row), deferred.row.message.clone())
        }
    }
}
