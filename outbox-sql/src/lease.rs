use std::sync::Arc;

use outbox_core::{
    Epoch, Fence, Lease, LeaseRequest, LeasedShard, RelayId, ShardId, StoreError, StoreErrorKind,
};

use crate::vocabulary::{Vocabulary, limit, microseconds};
use crate::{Dialect, Driver, Session, SqlStore, Statement, Step, Value, fence};

/// The texts of leases. All times are the database's.
#[derive(Debug)]
pub(crate) struct Leases {
    sign_of_life: Arc<str>,
    extend: Arc<str>,
    overview: Arc<str>,
    /// The three above in one statement, where there is such a thing: an idle relay makes few others.
    renew: Option<Arc<str>>,
    forget_dead: Arc<str>,
    owned: Arc<str>,
    take: Arc<str>,
    release: Arc<str>,
    absolve: Arc<str>,
    forget_relay: Arc<str>,
    release_all: Arc<str>,
}

/// How long `outbox status` remembers a relay that died, in microseconds.
const REMEMBERED: i64 = 24 * 60 * 60 * 1_000_000;

impl Leases {
    pub(crate) fn new(words: &Vocabulary) -> Self {
        let (dialect, shards, relays) = (words.dialect, &words.shards, &words.relays);
        let (now, until) = (dialect.now(), dialect.now_plus("?"));
        let number = |expression: &str| words.number(expression);
        let on_conflict = match dialect {
            Dialect::MySql => {
                "ON DUPLICATE KEY UPDATE label = VALUES(label), last_seen = VALUES(last_seen), \
                 alive_until = VALUES(alive_until)"
            }
            Dialect::Postgres | Dialect::Sqlite => {
                "ON CONFLICT (relay) DO UPDATE SET label = excluded.label, last_seen = excluded.last_seen, \
                 alive_until = excluded.alive_until"
            }
        };
        let sign_of_life = format!(
            "INSERT INTO {relays} (relay, label, started_at, last_seen, alive_until) \
             VALUES (?, ?, {now}, {now}, {until}) {on_conflict}"
        );
        // In the order in which a fence locks them, which of two statements that wait for each other would otherwise end one.
        let owned = match dialect {
            Dialect::Postgres => {
                format!(
                    "shard IN (SELECT shard FROM {shards} WHERE owner = ? ORDER BY shard FOR NO KEY UPDATE)"
                )
            }
            Dialect::MySql | Dialect::Sqlite => "owner = ?".to_owned(),
        };
        let extend = format!("UPDATE {shards} SET lease_until = {until} WHERE {owned}");
        // A row for each shard there is, so that one read answers all.
        let overview = format!(
            "SELECT {}, {}, {}, (SELECT count(*) FROM {relays} WHERE relay <> ? AND alive_until > {now}) \
             FROM {shards} s ORDER BY s.shard",
            number("s.shard"),
            number("s.epoch"),
            number("CASE WHEN s.owner = ? THEN 1 ELSE 0 END"),
        );
        // What is still owned is what was extended: the rest of the statement sees the shards as they were before it, and one
        // that somebody has just taken over as if it were not.
        let renew = format!(
            "WITH life AS ({sign_of_life}), extended AS ({extend} RETURNING shard, epoch) \
             SELECT {}, {}, {}, (SELECT count(*) FROM {relays} WHERE relay <> ? AND alive_until > {now}) \
             FROM {shards} s LEFT JOIN extended e ON e.shard = s.shard ORDER BY s.shard",
            number("s.shard"),
            number("coalesce(e.epoch, s.epoch)"),
            number("CASE WHEN e.shard IS NULL THEN 0 ELSE 1 END"),
        );
        Self {
            renew: (dialect == Dialect::Postgres).then(|| words.text(&renew)),
            sign_of_life: words.text(&sign_of_life),
            extend: words.text(&extend),
            overview: words.text(&overview),
            forget_dead: words
                .text(&format!("DELETE FROM {relays} WHERE last_seen < {}", dialect.now_plus("?"))),
            owned: words.text(&format!(
                "SELECT {}, {}, {} FROM {shards} WHERE owner = ? ORDER BY shard",
                number("shard"),
                number("epoch"),
                number("unclean"),
            )),
            take: words.text(&take(words)),
            release: words.text(&fenced_update(words, "owner = NULL, unclean = 0")),
            absolve: words.text(&fenced_update(words, "unclean = 0")),
            forget_relay: words.text(&format!("DELETE FROM {relays} WHERE relay = ?")),
            release_all: words.text(&format!("UPDATE {shards} SET owner = NULL, unclean = 0 WHERE {owned}")),
        }
    }
}

/// Takes shards that are free or whose lease has run out. The values: owner, ttl and limit, in the order of the dialect.
fn take(words: &Vocabulary) -> String {
    let (dialect, shards) = (words.dialect, &words.shards);
    let (now, until) = (dialect.now(), dialect.now_plus("?"));
    // A relay that judges by its own clock, on a machine whose clock is a minute ahead.
    #[cfg(outbox_sabotage)]
    let now = if outbox_core::sabotage::is("wall-clock-leases") {
        dialect.now_plus("60000000")
    } else {
        now.into()
    };
    // Locked rows are passed over: their owner is just settling, and may be taken over a moment later.
    let free = format!(
        "SELECT shard FROM {shards} WHERE owner IS NULL OR lease_until <= {now} ORDER BY shard LIMIT ?"
    );
    match dialect {
        Dialect::Postgres => format!(
            "WITH free AS MATERIALIZED ({free} FOR UPDATE SKIP LOCKED) \
             UPDATE {shards} s SET owner = ?, epoch = s.epoch + 1, lease_until = {until}, \
             unclean = CASE WHEN s.owner IS NULL THEN s.unclean ELSE s.unclean + 1 END \
             FROM free WHERE s.shard = free.shard RETURNING s.shard::int8, s.epoch::int8, s.unclean::int8"
        ),
        // The assignments are evaluated from left to right there, so the old owner is looked at first.
        Dialect::MySql => format!(
            "UPDATE ({free} FOR UPDATE SKIP LOCKED) AS free STRAIGHT_JOIN {shards} s ON s.shard = free.shard \
             SET s.unclean = CASE WHEN s.owner IS NULL THEN s.unclean ELSE s.unclean + 1 END, \
             s.owner = ?, s.epoch = s.epoch + 1, s.lease_until = {until}"
        ),
        Dialect::Sqlite => format!(
            "UPDATE {shards} SET owner = ?, epoch = epoch + 1, lease_until = {until}, \
             unclean = CASE WHEN owner IS NULL THEN unclean ELSE unclean + 1 END \
             WHERE shard IN ({free}) RETURNING shard, epoch, unclean"
        ),
    }
}

/// Changes the shards of a fence; its parameters are [`fence::values`].
fn fenced_update(words: &Vocabulary, set: &str) -> String {
    let (shards, list) = (&words.shards, fence::list(words.dialect));
    let condition = "s.shard = f.shard AND s.epoch = f.epoch";
    match words.dialect {
        Dialect::MySql => {
            format!("UPDATE {list} STRAIGHT_JOIN {shards} s ON {condition} SET {set} WHERE s.owner = ?")
        }
        Dialect::Postgres | Dialect::Sqlite => {
            format!("UPDATE {shards} AS s SET {set} FROM {list} WHERE {condition} AND s.owner = ?")
        }
    }
}

impl<D: Driver> SqlStore<D> {
    /// A statement, or three, each a transaction of its own: nobody can take over what was just extended.
    pub(crate) async fn renew_leases(&self, request: &LeaseRequest) -> Result<Lease, StoreError> {
        let rows = self.renewed(request).await?;
        let Some(first) = rows.first() else {
            let text = "there are no shards; run the migrations again";
            return Err(StoreError::new(StoreErrorKind::NotMigrated, "renew", text));
        };
        let mut lease = Lease {
            shard_count: u8::try_from(rows.len()).unwrap_or(u8::MAX),
            live_relays: first.small::<u32>(3)?.saturating_add(1),
            owned: Vec::new(),
        };
        for row in &rows {
            if row.number(2)? == 1 {
                lease.owned.push((row.small(0)?, row.number(1)?));
            }
        }
        Ok(lease)
    }

    /// Gives a sign of life, extends what is owned, and reads a row for each shard.
    async fn renewed(&self, request: &LeaseRequest) -> Result<Vec<crate::Row>, StoreError> {
        let (texts, relay) = (&self.leases, request.relay.to_string());
        let (me, ttl) = (|| Value::from(relay.clone()), || Value::from(microseconds(request.ttl)));
        let sign_of_life = vec![me(), Value::from(label(&request.label)), ttl()];
        let extend = vec![ttl(), me()];
        if let Some(renew) = &texts.renew {
            let values = [sign_of_life, extend, vec![me()]].concat();
            let rows = self.control(Step::Read(Statement::new(renew, values))).await?;
            return Ok(rows.into_iter().flatten().collect());
        }
        self.control(Step::Write(Statement::new(&texts.sign_of_life, sign_of_life))).await?;
        self.control(Step::Write(Statement::new(&texts.extend, extend))).await?;
        let overview = Statement::new(&texts.overview, vec![me(), me()]);
        self.driver.query(Session::Control, overview).await
    }

    pub(crate) async fn acquire_shards(
        &self,
        request: &LeaseRequest,
        most: usize,
    ) -> Result<Vec<LeasedShard>, StoreError> {
        if most == 0 {
            return Ok(Vec::new());
        }
        let texts = &self.leases;
        let relay = request.relay.to_string();
        let (most, ttl) = (Value::from(limit(most)), Value::from(microseconds(request.ttl)));
        let owner = || Value::from(relay.clone());
        let values = match self.words.dialect {
            Dialect::Postgres | Dialect::MySql => vec![most, owner(), ttl],
            Dialect::Sqlite => vec![owner(), ttl, most],
        };
        let take = Statement::new(&texts.take, values);
        // The dead ones are forgotten here because a relay asks for shards seldom, and gives signs of life often.
        let forgotten = vec![Value::from(-REMEMBERED)];
        self.control(Step::Write(Statement::new(&texts.forget_dead, forgotten))).await?;
        if self.words.dialect != Dialect::MySql {
            let taken = self.control(Step::Read(take)).await?;
            return taken.iter().flatten().map(leased).collect::<Result<_, _>>().map(sorted);
        }
        // MySQL has no UPDATE … RETURNING: what is owned afterwards and was not before.
        let owned = || Step::Read(Statement::new(&texts.owned, vec![owner()]));
        let steps = vec![owned(), Step::Write(take), owned()];
        let result = self.driver.transaction(Session::Control, steps).await?;
        let mut reads = Vec::with_capacity(2);
        for rows in &result.rows {
            reads.push(rows.iter().map(leased).collect::<Result<Vec<_>, _>>()?);
        }
        let after = reads.pop().unwrap_or_default();
        let before: Vec<(ShardId, Epoch)> =
            reads.iter().flatten().map(|shard| (shard.shard, shard.epoch)).collect();
        Ok(after.into_iter().filter(|shard| !before.contains(&(shard.shard, shard.epoch))).collect())
    }

    pub(crate) async fn release_shards(&self, fence: &Fence) -> Result<(), StoreError> {
        self.change_shards(&self.leases.release, fence).await
    }

    pub(crate) async fn absolve_shards(&self, fence: &Fence) -> Result<(), StoreError> {
        self.change_shards(&self.leases.absolve, fence).await
    }

    async fn change_shards(&self, text: &Arc<str>, fence: &Fence) -> Result<(), StoreError> {
        let values = fence::values(self.words.dialect, fence);
        self.control(Step::Write(Statement::new(text, values))).await.map(drop)
    }

    pub(crate) async fn retire_relay(&self, relay: RelayId) -> Result<(), StoreError> {
        let step = |text| Step::Write(Statement::new(text, vec![Value::from(relay.to_string())]));
        let steps = vec![step(&self.leases.release_all), step(&self.leases.forget_relay)];
        self.driver.transaction(Session::Control, steps).await.map(drop)
    }

    /// One statement, and the rows it returned if it is a read.
    async fn control(&self, step: Step<'_>) -> Result<Vec<Vec<crate::Row>>, StoreError> {
        Ok(self.driver.transaction(Session::Control, vec![step]).await?.rows)
    }
}

fn leased(row: &crate::Row) -> Result<LeasedShard, StoreError> {
    Ok(LeasedShard { shard: row.small(0)?, epoch: row.number(1)?, unclean_takeovers: row.small(2)? })
}

/// `RETURNING` has no order.
fn sorted(mut shards: Vec<LeasedShard>) -> Vec<LeasedShard> {
    shards.sort_unstable_by_key(|shard| shard.shard);
    shards
}

/// A label is for people: what is too long for its column is cut off.
fn label(text: &str) -> String {
    text.chars().filter(|c| *c != '\0').take(100).collect()
}
