use std::sync::Arc;

use crate::moves::delete;
use crate::plan::Plan;
use crate::vocabulary::{Vocabulary, kept};
use crate::{Dialect, Step, Value};

/// The texts that carry out what operators asked for. Each deletes the request in the same transaction.
#[derive(Debug)]
pub(crate) struct Operator {
    forget_deferred: Arc<str>,
    delete_deferred: Arc<str>,
    forget_replay_deferred: Arc<str>,
    due_at_once: Arc<str>,
    forget_dead: Arc<str>,
    delete_dead: Arc<str>,
    forget_replay_of_keys: Arc<str>,
    unpark: Arc<str>,
    delete_unparked: Option<Arc<str>>,
    forget_replay_dead: Arc<str>,
    revive: Arc<str>,
    delete_revived: Option<Arc<str>>,
}

/// What a row that comes back has of its own: no attempts, and no error.
const WAITS: &str = "due_at, attempts, held_behind";

impl Operator {
    pub(crate) fn new(words: &Vocabulary) -> Self {
        let (deferred, dead) = (&words.deferred, &words.dead_letters);
        let separate = words.dialect != Dialect::Postgres;
        Self {
            forget_deferred: words.text(&forget(words, deferred, "")),
            delete_deferred: words.text(&delete(words, deferred, "number")),
            forget_replay_deferred: words.text(&forget(words, deferred, REPLAY)),
            due_at_once: words.text(&due_at_once(words)),
            forget_dead: words.text(&forget(words, dead, "")),
            delete_dead: words.text(&delete(words, dead, "number")),
            forget_replay_of_keys: words.text(&forget_keys(words)),
            unpark: words.text(&unpark(words)),
            delete_unparked: separate.then(|| words.text(&delete_unparked(words))),
            forget_replay_dead: words.text(&forget(words, dead, REPLAY)),
            revive: words.text(&revive(words)),
            delete_revived: separate.then(|| words.text(&delete(words, dead, "number"))),
        }
    }

    /// The steps of a plan. Discards come before whole keys move: what is discarded is not taken along.
    pub(crate) fn steps<'a>(&self, words: &Vocabulary, plan: &Plan<'_>) -> Vec<Step<'a>> {
        let mut steps = Vec::new();
        let of = |text: &Arc<str>, numbers: &[i64]| words.planned_anew(text, vec![words.numbers(numbers)]);
        let gone = &plan.gone_deferred;
        if !gone.is_empty() {
            steps.push(Step::Also(of(&self.forget_deferred, gone)));
            steps.push(Step::Write(of(&self.delete_deferred, gone)));
        }
        let replayed = &plan.replay_deferred;
        if !replayed.is_empty() {
            steps.push(Step::Also(of(&self.forget_replay_deferred, replayed)));
            steps.push(Step::Write(of(&self.due_at_once, replayed)));
        }
        if !plan.moves_keys() {
            return steps;
        }
        let (discarded, replayed) = (&plan.discard_dead, &plan.replay_dead);
        let of_keys = |text| words.planned_anew(text, key_values(words, replayed, discarded));
        if !discarded.is_empty() {
            steps.push(Step::Also(of(&self.forget_dead, discarded)));
        }
        steps.push(Step::Also(of_keys(&self.forget_replay_of_keys)));
        steps.push(Step::Write(of_keys(&self.unpark)));
        steps.extend(self.delete_unparked.as_ref().map(|delete| Step::Also(of_keys(delete))));
        // The parked ones among the replayed are no longer there.
        if !replayed.is_empty() {
            steps.push(Step::Also(of(&self.forget_replay_dead, replayed)));
            steps.push(Step::Write(of(&self.revive, replayed)));
            steps.extend(self.delete_revived.as_ref().map(|delete| Step::Also(of(delete, replayed))));
        }
        if !discarded.is_empty() {
            steps.push(Step::Write(of(&self.delete_dead, discarded)));
        }
        steps
    }
}

const REPLAY: &str = " AND r.action = 'replay'";

/// Deletes the requests about the rows of a list.
fn forget(words: &Vocabulary, table: &str, condition: &str) -> String {
    let requests = &words.requests;
    match words.dialect {
        Dialect::Postgres => format!(
            "DELETE FROM {requests} AS r WHERE r.message_id = ANY \
             (ARRAY(SELECT m.id FROM {table} m WHERE m.number = ANY (?::int8[]))){condition}"
        ),
        Dialect::MySql => format!(
            "DELETE r FROM {} STRAIGHT_JOIN {table} m ON m.number = l.n \
             STRAIGHT_JOIN {requests} r ON r.message_id = m.id WHERE true{condition}",
            words.number_list()
        ),
        Dialect::Sqlite => format!(
            "DELETE FROM {requests} AS r WHERE r.message_id IN \
             (SELECT m.id FROM {table} m WHERE m.number IN (SELECT value FROM json_each(?))){condition}"
        ),
    }
}

fn due_at_once(words: &Vocabulary) -> String {
    let (table, now) = (&words.deferred, words.dialect.now());
    match words.dialect {
        Dialect::Postgres => {
            format!("UPDATE {table} SET due_at = {now} WHERE number = ANY (?::int8[]) AND due_at IS NOT NULL")
        }
        Dialect::MySql => format!(
            "UPDATE {} STRAIGHT_JOIN {table} m ON m.number = l.n SET m.due_at = {now} WHERE m.due_at IS NOT NULL",
            words.number_list()
        ),
        Dialect::Sqlite => format!(
            "UPDATE {table} SET due_at = {now} WHERE number IN (SELECT value FROM json_each(?)) \
             AND due_at IS NOT NULL"
        ),
    }
}

/// The keys whose parked messages come back, and what they stopped at, as a table `k(ordering_key, parked_behind)`: those of
/// parked messages that are replayed, and those whose head is discarded. Its parameters are the first of [`key_values`].
///
/// By what they stopped at, because a key may have messages for several brokers, each of which has a relay's destination of
/// its own: what one of them parked is not for another to bring back.
fn keys(words: &Vocabulary, columns: &str) -> String {
    let dead = &words.dead_letters;
    match words.dialect {
        Dialect::Postgres => format!(
            "SELECT DISTINCT {columns} FROM {dead} h WHERE h.number = ANY (?::int8[]) \
             AND (h.parked_behind = h.id OR h.parked_behind IS NOT NULL AND h.number = ANY (?::int8[]))"
        ),
        Dialect::MySql => format!(
            "SELECT DISTINCT {columns} FROM json_table(?, '$[*]' COLUMNS \
             (n BIGINT PATH '$[0]', whole BIGINT PATH '$[1]')) AS l STRAIGHT_JOIN {dead} h ON h.number = l.n \
             WHERE h.parked_behind = h.id OR (h.parked_behind IS NOT NULL AND l.whole = 1)"
        ),
        Dialect::Sqlite => format!(
            "SELECT DISTINCT {columns} FROM (SELECT json_extract(value, '$[0]') AS n, \
             json_extract(value, '$[1]') AS whole FROM json_each(?)) AS l CROSS JOIN {dead} h ON h.number = l.n \
             WHERE h.parked_behind = h.id OR (h.parked_behind IS NOT NULL AND l.whole = 1)"
        ),
    }
}

/// The parked messages of [`keys`] that are not discarded, as `FROM … WHERE …` with the alias `m`; its parameters are
/// [`key_values`].
fn parked(words: &Vocabulary) -> String {
    let dead = &words.dead_letters;
    let stopped = || keys(words, "h.ordering_key, h.parked_behind");
    let same = "m.ordering_key = k.ordering_key AND m.parked_behind = k.parked_behind";
    match words.dialect {
        // Two lists instead of pairs, so that the index of keys is used: a message is in one key only.
        Dialect::Postgres => format!(
            "FROM {dead} m WHERE m.ordering_key = ANY (ARRAY({})) AND m.parked_behind = ANY (ARRAY({})) \
             AND m.number <> ALL (?::int8[])",
            keys(words, "h.ordering_key"),
            keys(words, "h.parked_behind"),
        ),
        Dialect::MySql => format!(
            "FROM ({}) AS k STRAIGHT_JOIN {dead} m ON {same} \
             WHERE m.number NOT IN (SELECT l.n FROM {})",
            stopped(),
            words.number_list()
        ),
        Dialect::Sqlite => format!(
            "FROM ({}) AS k CROSS JOIN {dead} m ON {same} \
             WHERE m.number NOT IN (SELECT value FROM json_each(?))",
            stopped()
        ),
    }
}

fn forget_keys(words: &Vocabulary) -> String {
    let (requests, parked) = (&words.requests, parked(words));
    match words.dialect {
        // A derived table, because the rows to delete from can't be named twice there.
        Dialect::MySql => format!(
            "DELETE r FROM (SELECT DISTINCT m.id {parked}) AS p STRAIGHT_JOIN {requests} r \
             ON r.message_id = p.id WHERE true{REPLAY}"
        ),
        Dialect::Postgres => {
            format!(
                "DELETE FROM {requests} AS r WHERE r.message_id = ANY (ARRAY(SELECT m.id {parked})){REPLAY}"
            )
        }
        Dialect::Sqlite => {
            format!("DELETE FROM {requests} AS r WHERE r.message_id IN (SELECT m.id {parked}){REPLAY}")
        }
    }
}

/// Moves whole keys to the deferred table. All of a key is held, the head too: the relay releases it in the order of
/// `seq`, and nothing that is written meanwhile overtakes it.
fn unpark(words: &Vocabulary) -> String {
    let (dead, deferred, parked) = (&words.dead_letters, &words.deferred, parked(words));
    let (plain, all) = (kept(""), kept("m."));
    let insert = format!("INSERT INTO {deferred} ({plain}, {WAITS}) SELECT {all}, NULL, 0, m.parked_behind");
    match words.dialect {
        Dialect::Postgres => format!(
            "WITH m AS (DELETE FROM {dead} WHERE number = ANY (ARRAY(SELECT m.number {parked})) \
             RETURNING {plain}, parked_behind) {insert} FROM m ORDER BY m.seq"
        ),
        Dialect::MySql | Dialect::Sqlite => format!("{insert} {parked} ORDER BY m.seq"),
    }
}

/// The second half of [`unpark`]. The fence is exclusive, so these are the rows that were inserted.
fn delete_unparked(words: &Vocabulary) -> String {
    let (dead, parked) = (&words.dead_letters, parked(words));
    match words.dialect {
        Dialect::MySql => format!("DELETE m {parked}"),
        Dialect::Postgres | Dialect::Sqlite => {
            format!("DELETE FROM {dead} WHERE number IN (SELECT m.number {parked})")
        }
    }
}

/// Moves dead letters to the deferred table, due at once.
fn revive(words: &Vocabulary) -> String {
    let (dead, deferred, now) = (&words.dead_letters, &words.deferred, words.dialect.now());
    let (plain, all) = (kept(""), kept("m."));
    let insert = format!("INSERT INTO {deferred} ({plain}, {WAITS}) SELECT {all}, {now}, 0, NULL");
    match words.dialect {
        Dialect::Postgres => format!(
            "WITH m AS (DELETE FROM {dead} WHERE number = ANY (?::int8[]) RETURNING {plain}) \
             {insert} FROM m ORDER BY m.seq"
        ),
        Dialect::MySql => {
            format!("{insert} FROM {} STRAIGHT_JOIN {dead} m ON m.number = l.n", words.number_list())
        }
        Dialect::Sqlite => {
            format!("{insert} FROM {} CROSS JOIN {dead} m ON m.number = l.n", words.number_list())
        }
    }
}

/// The values of [`parked`].
fn key_values<'a>(words: &Vocabulary, replayed: &[i64], discarded: &[i64]) -> Vec<Value<'a>> {
    if words.dialect == Dialect::Postgres {
        let all: Vec<i64> = replayed.iter().chain(discarded).copied().collect();
        let stopped = || [words.numbers(&all), words.numbers(replayed)];
        return stopped().into_iter().chain(stopped()).chain([words.numbers(discarded)]).collect();
    }
    let whole = replayed.iter().map(|number| format!("[{number},1]"));
    let heads = discarded.iter().map(|number| format!("[{number},0]"));
    let pairs: Vec<String> = whole.chain(heads).collect();
    vec![Value::from(format!("[{}]", pairs.join(","))), words.numbers(discarded)]
}
