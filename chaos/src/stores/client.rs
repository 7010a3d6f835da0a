//! What is done with a database, for each of the three in its own types: the drivers of sqlx have no common ones.

/// The statements of a database.
pub(crate) struct Sql {
    /// The tables of the harness, one statement after the other. `audit` is written in the transactions of the producers:
    /// what is in there was committed, whatever anybody was told. No key keeps an effect from happening twice.
    pub(crate) tables: &'static str,
    pub(crate) add_account: &'static str,
    /// Locks an account, so that its messages have an order.
    pub(crate) count_up: &'static str,
    pub(crate) version: &'static str,
    pub(crate) audit: &'static str,
    pub(crate) effect: &'static str,
    /// The dead letters of the outbox: id, topic, reason, payload.
    pub(crate) dead_letters: &'static str,
}

pub(crate) const WAITING: &str =
    "SELECT (SELECT count(*) FROM outbox_messages) + (SELECT count(*) FROM outbox_deferred)";
pub(crate) const EFFECTS_SO_FAR: &str = "SELECT count(DISTINCT id) FROM effects";
pub(crate) const READ_AUDIT: &str =
    "SELECT id, account, version, topic, payload, refused FROM audit ORDER BY place";
pub(crate) const READ_EFFECTS: &str = "SELECT id, worker FROM effects ORDER BY place";

/// The functions `produce` and `consume`, and what the harness reads, for one kind of database.
macro_rules! client {
    (
        $sql:ident, $connection:ty, $pool:ty, $options:ty, $writer:ty, $inbox:ty, $store:ty,
        begin: |$opened:ident| $begin:expr
    ) => {
        /// A transaction of a business: its accounts, its messages, and what it says about itself.
        async fn write(
            connection: &mut $connection,
            outbox: &$writer,
            draft: &$crate::actors::Draft,
        ) -> Result<bool, sqlx::Error> {
            use sqlx::Connection as _;
            let $opened = connection;
            let mut tx = $begin.await?;
            for row in &draft.rows {
                let mut version: i64 = 0;
                if let Some(account) = &row.account {
                    sqlx::query($sql.count_up).bind(account).execute(&mut *tx).await?;
                    version = sqlx::query_scalar($sql.version).bind(account).fetch_one(&mut *tx).await?;
                }
                sqlx::query($sql.audit)
                    .bind(row.id.simple().to_string())
                    .bind(&row.account)
                    .bind(version)
                    .bind(row.topic.as_str())
                    .bind(&row.payload)
                    .bind(i64::from(row.refused))
                    .execute(&mut *tx)
                    .await?;
                let message = row.message(version).map_err(|error| sqlx::Error::Encode(error.into()))?;
                outbox.enqueue(&mut *tx, &message).await?;
            }
            tokio::time::sleep(draft.pause).await;
            if draft.rolls_back {
                tx.rollback().await?;
                return Ok(false);
            }
            tx.commit().await?;
            Ok(true)
        }

        pub(super) async fn produce(settings: $crate::actors::ProducerSettings) -> anyhow::Result<()> {
            $crate::actors::produce(settings, async |url: String, mut drafts| {
                use sqlx::ConnectOptions as _;
                let options: $options = url.parse()?;
                let options = options.disable_statement_logging();
                let outbox = <$writer>::new();
                let mut connection: Option<$connection> = None;
                while let Some(draft) = drafts.next().await {
                    // A connection whose transaction was not ended in order is not used again.
                    let work = async {
                        let mut open = match connection.take() {
                            Some(open) => open,
                            None => options.connect().await?,
                        };
                        let committed = write(&mut open, &outbox, &draft).await?;
                        Ok::<_, sqlx::Error>((open, committed))
                    };
                    let ended = tokio::time::timeout($crate::actors::TRANSACTION_LIMIT, work).await;
                    match ended {
                        Ok(Ok((open, true))) => {
                            drafts.ended(&draft, "committed").await?;
                            connection = Some(open);
                        }
                        Ok(Ok((open, false))) => {
                            drafts.ended(&draft, "rolled back").await?;
                            connection = Some(open);
                        }
                        Ok(Err(error)) => drafts.failed(&draft, &error.to_string()).await?,
                        Err(_) => drafts.failed(&draft, "took too long").await?,
                    }
                }
                Ok(())
            })
            .await
        }

        struct Effects {
            pool: $pool,
            inbox: $inbox,
            worker: i64,
            misfortune: $crate::actors::Misfortune,
        }

        impl outbox::MessageHandler for Effects {
            async fn handle(
                &self,
                message: &outbox::OutboxMessage,
            ) -> Result<outbox::Processed, outbox::HandlerError> {
                let id = message.id().as_uuid().simple().to_string();
                let processed = self
                    .inbox
                    .process(&self.pool, message, async |tx| {
                        sqlx::query($sql.effect).bind(&id).bind(self.worker).execute(&mut **tx).await?;
                        self.misfortune.before_commit()?;
                        Ok::<_, outbox::HandlerError>(())
                    })
                    .await?;
                self.misfortune.after_commit();
                Ok(processed)
            }
        }

        pub(super) async fn consume(settings: $crate::actors::ConsumerSettings) -> anyhow::Result<()> {
            use sqlx::ConnectOptions as _;
            let options: $options = settings.database.parse()?;
            let pool = sqlx::pool::PoolOptions::new()
                .max_connections(8)
                .acquire_timeout(std::time::Duration::from_secs(3))
                .connect_lazy_with(options.disable_statement_logging());
            let effects = Effects {
                pool,
                inbox: <$inbox>::new($crate::actors::CONSUMER)?,
                worker: i64::from(std::process::id()),
                misfortune: $crate::actors::Misfortune::new(&settings),
            };
            let store = std::sync::Arc::new(<$store>::from_url(&settings.database)?);
            $crate::actors::consume(settings, effects, store).await
        }

        async fn number(connection: &mut $connection, sql: &'static str) -> anyhow::Result<i64> {
            Ok(sqlx::query_scalar(sql).fetch_one(connection).await?)
        }

        async fn make_tables(connection: &mut $connection) -> anyhow::Result<()> {
            sqlx::raw_sql($sql.tables).execute(&mut *connection).await?;
            for account in $crate::actors::accounts() {
                sqlx::query($sql.add_account).bind(account).execute(&mut *connection).await?;
            }
            Ok(())
        }

        async fn read_progress(connection: &mut $connection) -> anyhow::Result<$crate::stores::Progress> {
            Ok($crate::stores::Progress {
                waiting: number(connection, $crate::stores::client::WAITING).await?,
                effects: number(connection, $crate::stores::client::EFFECTS_SO_FAR).await?,
            })
        }

        async fn read_records(connection: &mut $connection) -> anyhow::Result<$crate::stores::Records> {
            use $crate::check::history::{Dead, Effect, Entry};
            type Audit = (String, Option<String>, i64, String, Vec<u8>, i64);
            let audit: Vec<Audit> =
                sqlx::query_as($crate::stores::client::READ_AUDIT).fetch_all(&mut *connection).await?;
            let entry = |(id, account, version, topic, payload, refused): Audit| {
                let refused = refused != 0;
                Entry { id, account, version, topic, payload, refused }
            };
            let effects: Vec<(String, i64)> =
                sqlx::query_as($crate::stores::client::READ_EFFECTS).fetch_all(&mut *connection).await?;
            type Letter = (String, String, String, Vec<u8>);
            let dead: Vec<Letter> = sqlx::query_as($sql.dead_letters).fetch_all(connection).await?;
            let letter = |(id, topic, reason, payload): Letter| Dead { id, topic, reason, payload };
            Ok($crate::stores::Records {
                audit: audit.into_iter().map(entry).collect(),
                effects: effects.into_iter().map(|(id, worker)| Effect { id, worker }).collect(),
                dead: dead.into_iter().map(letter).collect(),
            })
        }
    };
}
