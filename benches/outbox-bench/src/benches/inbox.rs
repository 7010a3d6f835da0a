//! What it costs to have each effect once (PostgreSQL): a consumer whose handler has an inbox, beside one whose handler has
//! none.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use outbox_core::{
    Admission, ConsumerName, HandlerError, MessageHandler, MessageId, OutboxMessage, Processed,
    SubscribeOptions, Topic, Transport, handler,
};
use outbox_memory::MemoryTransport;
use outbox_relay::Consumer;
use outbox_sqlx::PostgresInbox;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

use crate::database::postgres::PostgresDatabase;
use crate::database::{Database, NAME as SCHEMA};
use crate::report::{Measurement, Report, progress, rate};
use crate::workload::Workload;

pub(crate) const NAME: &str = "inbox";

/// Handlers at once, each with a connection.
const CONCURRENCY: u32 = 16;
/// Rows that the effects go to: few enough to stay in memory, enough that handlers seldom meet.
const ACCOUNTS: u32 = 1_000;
/// Messages in a transaction, where it takes many.
const BATCH: usize = 100;

struct Handling {
    pool: PgPool,
    inbox: PostgresInbox,
    update: SqlStr,
}

type Work = for<'h> fn(
    &'h Handling,
    &'h OutboxMessage,
) -> futures_util::future::BoxFuture<'h, Result<Processed, HandlerError>>;

/// With and without, in turn; the best round of each counts.
pub(crate) async fn run(workload: &Workload, report: &mut Report) -> Result<()> {
    let messages = workload.messages / 4;
    let mut database = PostgresDatabase::fresh().await?;
    let handling = prepare(&mut database).await?;
    for (variant, batched) in [
        (format!("{CONCURRENCY} handlers, a transaction for each message"), false),
        (format!("{CONCURRENCY} transactions at once, {BATCH} messages in each"), true),
    ] {
        progress(format_args!("{NAME}: {variant}"));
        let mut best = [0.0_f64; 2];
        for _ in 0..if workload.is_quick() { 1 } else { workload.rounds.max(3) } {
            for (index, with_inbox) in [false, true].into_iter().enumerate() {
                let truncate = format!("TRUNCATE {SCHEMA}.inbox_messages; CHECKPOINT");
                sqlx::raw_sql(AssertSqlSafe(truncate)).execute(database.connection()).await?;
                let time = if batched {
                    batches(&handling, messages, with_inbox).await?
                } else {
                    let work: Work = if with_inbox {
                        |handling, message| Box::pin(once(handling, message))
                    } else {
                        |handling, message| Box::pin(at_least_once(handling, message))
                    };
                    one_by_one(&handling, messages, work).await?
                };
                best[index] = best[index].max(rate(messages, time));
            }
        }
        report.push(Measurement {
            bench: NAME,
            store: PostgresDatabase::NAME,
            orm: "sqlx",
            transport: "memory",
            variant,
            ours: Some(best[1]),
            raw: Some(best[0]),
            unit: "msg/s",
        });
    }
    handling.pool.close().await;
    database.remove().await
}

async fn prepare(database: &mut PostgresDatabase) -> Result<Handling> {
    let create = format!(
        "CREATE TABLE {SCHEMA}.accounts (id bigint PRIMARY KEY, version bigint NOT NULL) WITH (fillfactor = 50);
         INSERT INTO {SCHEMA}.accounts SELECT n, 0 FROM generate_series(0, {ACCOUNTS} - 1) AS n"
    );
    sqlx::raw_sql(AssertSqlSafe(create)).execute(database.connection()).await?;
    let options: PgConnectOptions = database.url().parse()?;
    let pool = PgPoolOptions::new().min_connections(CONCURRENCY).max_connections(CONCURRENCY);
    let names = outbox_sql::TableNames::new(Some(SCHEMA), "")?;
    let update = format!("UPDATE {SCHEMA}.accounts SET version = version + 1 WHERE id = $1");
    Ok(Handling {
        pool: pool.connect_with(options).await?,
        inbox: PostgresInbox::with_names("bench", &names)?,
        update: AssertSqlSafe(update).into_sql_str(),
    })
}

/// The handler as it is without an inbox.
async fn at_least_once(handling: &Handling, message: &OutboxMessage) -> Result<Processed, HandlerError> {
    let mut tx = handling.pool.begin().await?;
    sqlx::query(handling.update.clone()).bind(account(message.id())).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(Processed::Applied(()))
}

/// The same, in the transaction of the inbox.
async fn once(handling: &Handling, message: &OutboxMessage) -> Result<Processed, HandlerError> {
    let processed = handling.inbox.process(&handling.pool, message, async |tx| {
        let update = sqlx::query(handling.update.clone()).bind(account(message.id()));
        update.execute(&mut **tx).await?;
        Ok(())
    });
    processed.await
}

fn account(id: &MessageId) -> i64 {
    // The end of a UUIDv7 is random.
    let [.., high, low] = *id.as_bytes();
    i64::from(u32::from(u16::from_be_bytes([high, low])) % ACCOUNTS)
}

async fn one_by_one(handling: &Handling, messages: u32, work: Work) -> Result<Duration> {
    let (topic, group) = ("bench.orders", "bench");
    let broker = MemoryTransport::unrecorded();
    let mut options = SubscribeOptions::new(group, [Topic::new(topic)?]);
    options.prefetch = 256;
    let subscription = broker.subscription(options)?;
    let made: Result<Vec<OutboxMessage>, _> =
        (0..messages).map(|_| OutboxMessage::bytes(topic, vec![b'x'; 200])?.build()).collect();
    for published in broker.publish(&made?).await {
        published?;
    }
    let state = Handling {
        pool: handling.pool.clone(),
        inbox: handling.inbox.clone(),
        update: handling.update.clone(),
    };
    let consumer = Consumer::new(ConsumerName::new(group)?, subscription, wrapped(state, work));
    let started = Instant::now();
    let consumer = consumer.configure(|config| config.concurrency = CONCURRENCY as usize).start()?;
    // The last one is not far from the others: a look each millisecond is precise enough.
    while consumer.stats().applied < u64::from(messages) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let time = started.elapsed();
    let stats = consumer.shutdown().await.context("the consumer")?;
    anyhow::ensure!(stats.failed == 0, "{stats:?}");
    Ok(time)
}

fn wrapped(state: Handling, work: Work) -> impl MessageHandler {
    handler((state, work), async |(state, work): &(Handling, Work), message: &OutboxMessage| {
        work(state, message).await
    })
}

/// As a consumer of one's own does it that takes many messages into one transaction.
async fn batches(handling: &Handling, messages: u32, with_inbox: bool) -> Result<Duration> {
    let ids: Vec<MessageId> = (0..messages).map(|_| MessageId::new()).collect();
    let mut tasks = tokio::task::JoinSet::new();
    let started = Instant::now();
    for worker in 0..CONCURRENCY as usize {
        let mine: Vec<Vec<MessageId>> =
            ids.chunks(BATCH).skip(worker).step_by(CONCURRENCY as usize).map(<[_]>::to_vec).collect();
        let (pool, inbox, update) = (handling.pool.clone(), handling.inbox.clone(), handling.update.clone());
        tasks.spawn(async move {
            for ids in mine {
                let mut tx = pool.begin().await?;
                if with_inbox {
                    let admissions = inbox.admit_all(&mut tx, &ids).await?;
                    anyhow::ensure!(admissions.iter().all(|admission| *admission == Admission::Fresh));
                }
                // In the same order everywhere, so that no two wait for each other.
                let mut accounts: Vec<i64> = ids.iter().map(account).collect();
                accounts.sort_unstable();
                for account in accounts {
                    sqlx::query(update.clone()).bind(account).execute(&mut *tx).await?;
                }
                tx.commit().await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(started.elapsed())
}
