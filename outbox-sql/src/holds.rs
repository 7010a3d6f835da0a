use std::sync::Arc;
use std::time::Duration;

use outbox_core::{
    HoldState, KeyHold, OperatorAction, OperatorRequest, OrderingKey, RowId, Scope, StoreError,
    StoreErrorKind,
};

use crate::claim::{by_due_time, key_list, keys_value};
use crate::scope::{Scoped, bind, count_less_one};
use crate::vocabulary::{Vocabulary, limit};
use crate::{Dialect, Driver, Row, Session, SqlStore, Statement};

/// The texts about what does not flow: held and parked keys, due times, and what operators asked for.
#[derive(Debug)]
pub(crate) struct Holds {
    all: Scoped,
    of_keys: Scoped,
    next_due: Scoped,
    requests: Scoped,
    is_empty: Arc<str>,
}

impl Holds {
    pub(crate) fn new(words: &Vocabulary) -> Self {
        let of_keys = format!(" AND m.ordering_key {}", key_list(words.dialect));
        let left = words.dialect.us_until("m.due_at");
        let (messages, deferred, in_order) = (&words.messages, &words.deferred, by_due_time(words));
        let empty = format!(
            "CASE WHEN EXISTS (SELECT 1 FROM {messages}) OR EXISTS (SELECT 1 FROM {deferred}) THEN 0 ELSE 1 END"
        );
        Self {
            all: Scoped::new(words, |clauses| holds(words, &clauses.of("m"))),
            of_keys: Scoped::new(words, |clauses| holds(words, &(of_keys.clone() + &clauses.of("m")))),
            next_due: Scoped::new(words, |clauses| {
                let clauses = clauses.of("m");
                format!(
                    "SELECT {left} FROM {in_order} WHERE m.due_at IS NOT NULL{clauses} ORDER BY m.due_at LIMIT 1"
                )
            }),
            requests: Scoped::new(words, |clauses| requests(words, &clauses.of("m"))),
            is_empty: words.text(&format!("SELECT {}", words.number(&empty))),
        }
    }
}

/// The columns are those of [`hold`]. The states are numbered in the order in which they are wanted: 0 releasing, 1
/// retrying, 2 parked.
///
/// A key may have rows of several, and the weightiest counts. While the message that a key stopped at is dead, nothing
/// that still waits behind it may go. Once that was replayed, it and what came back with it go before a follower that
/// reached the dead letters too late to be taken along.
fn holds(words: &Vocabulary, clauses: &str) -> String {
    let (deferred, dead) = (&words.deferred, &words.dead_letters);
    let number = |expression: &str| words.number(expression);
    let shard = number(&words.shard("m"));
    let retrying = "m.held_behind IS NULL";
    let state = number(&format!("CASE WHEN {retrying} THEN 1 ELSE 0 END"));
    let weight = number(&format!("CASE WHEN {retrying} THEN 1 ELSE 2 END"));
    let (parked, parked_weight) = (number("2"), number("CASE WHEN m.parked_behind = m.id THEN 0 ELSE 3 END"));
    format!(
        "SELECT k, shard, state, id, seq FROM (SELECT h.k, h.shard, h.state, h.id, h.seq, \
         row_number() OVER (PARTITION BY h.k ORDER BY h.weight, h.seq) AS place FROM (\
         SELECT m.ordering_key AS k, {shard} AS shard, {state} AS state, {weight} AS weight, m.id AS id, m.seq AS seq \
         FROM {deferred} m WHERE m.ordering_key IS NOT NULL AND (m.held_behind IS NOT NULL OR m.attempts > 0){clauses} \
         UNION ALL \
         SELECT m.ordering_key, {shard}, {parked}, {parked_weight}, m.parked_behind, m.seq \
         FROM {dead} m WHERE m.ordering_key IS NOT NULL AND m.parked_behind IS NOT NULL{clauses}\
         ) h) f WHERE f.place = 1 ORDER BY f.state, f.seq LIMIT ?"
    )
}

/// 0 for what is not parked, 1 for what follows another, 2 for what a key stopped at.
const PARKED: &str = "CASE WHEN m.parked_behind IS NULL THEN 0 WHEN m.parked_behind = m.id THEN 2 ELSE 1 END";

/// The columns are those of [`request`].
fn requests(words: &Vocabulary, clauses: &str) -> String {
    let (requests, shard) = (&words.requests, words.number(&words.shard("m")));
    let each = |lane: &str, table: &str, parked: &str, more: &str| {
        // From the requests to the rows: there are few of the former, mostly none.
        let join = match words.dialect {
            Dialect::Postgres => format!("{requests} r JOIN {table} m"),
            Dialect::MySql => format!("{requests} r STRAIGHT_JOIN {table} m"),
            Dialect::Sqlite => format!("{requests} r CROSS JOIN {table} m"),
        };
        let (lane, parked) = (words.number(lane), words.number(parked));
        format!(
            "SELECT {lane} AS lane, m.number AS number, {shard} AS shard, r.message_id AS id, m.ordering_key AS k, \
             {parked} AS parked, r.action AS action, r.requested_at AS asked \
             FROM {join} ON m.id = r.message_id WHERE true{more}{clauses}"
        )
    };
    let dead = each("2", &words.dead_letters, PARKED, "");
    let blocked = each("1", &words.deferred, "0", " AND m.attempts > 0 AND m.due_at IS NOT NULL");
    format!(
        "SELECT lane, number, shard, id, k, parked, action FROM ({dead} UNION ALL {blocked}) q \
         ORDER BY q.asked, q.number LIMIT ?"
    )
}

impl<D: Driver> SqlStore<D> {
    pub(crate) async fn read_holds(
        &self,
        scope: &Scope,
        keys: Option<&[OrderingKey]>,
        most: usize,
    ) -> Result<Vec<KeyHold>, StoreError> {
        if scope.shards.is_empty() || keys.is_some_and(<[_]>::is_empty) {
            return Ok(Vec::new());
        }
        let dialect = self.words.dialect;
        let text = if keys.is_some() { &self.holds.of_keys } else { &self.holds.all };
        let mut values = Vec::new();
        for _ in 0..2 {
            values.push(count_less_one(scope));
            values.extend(keys.map(|keys| keys_value(dialect, keys)));
            bind(&mut values, dialect, scope);
        }
        values.push(limit(most).into());
        let rows =
            self.driver.query(Session::Read, self.words.planned_anew(text.text(scope), values)).await?;
        rows.iter().map(hold).collect()
    }

    pub(crate) async fn read_next_due(&self, scope: &Scope) -> Result<Option<Duration>, StoreError> {
        if scope.shards.is_empty() {
            return Ok(None);
        }
        let mut values = Vec::new();
        bind(&mut values, self.words.dialect, scope);
        let statement = Statement::new(self.holds.next_due.text(scope), values);
        let rows = self.driver.query(Session::Read, statement).await?;
        let left = rows.first().map(|row| row.number(0)).transpose()?;
        // Negative if it is due.
        Ok(left.map(|us| Duration::from_micros(u64::try_from(us).unwrap_or(0))))
    }

    pub(crate) async fn read_requests(
        &self,
        scope: &Scope,
        most: usize,
    ) -> Result<Vec<OperatorRequest>, StoreError> {
        if scope.shards.is_empty() {
            return Ok(Vec::new());
        }
        let mut values = Vec::new();
        for _ in 0..2 {
            values.push(count_less_one(scope));
            bind(&mut values, self.words.dialect, scope);
        }
        values.push(limit(most).into());
        let statement = self.words.planned_anew(self.holds.requests.text(scope), values);
        let rows = self.driver.query(Session::Read, statement).await?;
        rows.iter().map(request).collect()
    }

    pub(crate) async fn has_nothing(&self) -> Result<bool, StoreError> {
        let statement = Statement::new(&self.holds.is_empty, Vec::new());
        let rows = self.driver.query(Session::Read, statement).await?;
        rows.first().map_or(Ok(true), |row| Ok(row.number(0)? == 1))
    }
}

fn hold(row: &Row) -> Result<KeyHold, StoreError> {
    let (id, seq) = (row.required_id(3)?, row.number(4)?);
    let state = match row.number(2)? {
        0 => HoldState::Releasing { first: seq },
        1 => HoldState::Retrying { head: id, seq },
        _ => HoldState::Parked { behind: id },
    };
    let key = OrderingKey::stored(&row.lossy_text(0)?.unwrap_or_default());
    Ok(KeyHold { key, shard: row.small(1)?, state })
}

fn request(row: &Row) -> Result<OperatorRequest, StoreError> {
    let (number, parked) = (row.number(1)?, row.number(5)?);
    let action = match row.text(6)? {
        Some("replay") => OperatorAction::Replay,
        Some("discard") => OperatorAction::Discard,
        other => {
            let text = format!("{other:?} is nothing that can be asked for");
            return Err(StoreError::new(StoreErrorKind::SchemaVersion, "requests", text));
        }
    };
    Ok(OperatorRequest {
        row: if row.number(0)? == 2 { RowId::dead(number) } else { RowId::deferred(number) },
        shard: row.small(2)?,
        id: row.required_id(3)?,
        key: row.lossy_text(4)?.map(|key| OrderingKey::stored(&key)),
        parked: parked > 0,
        stops_key: parked == 2,
        action,
    })
}
