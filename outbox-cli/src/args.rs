use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use outbox::sql::Dialect;
use outbox::{Config, MessageId, Store, Topic};

const AFTER_HELP: &str = "\
Flags win over the environment (OUTBOX_STORE_URL, OUTBOX_TRANSPORT_URL, …), that over the file, that over the profile
(OUTBOX_PROFILE or ENVIRONMENT: testing, development, production). `outbox config show` prints the outcome.
RUST_LOG sets what is logged, to standard error.

Exit codes: 0 done; 1 failed, or something was found; 2 wrong usage or configuration, or the database is not migrated.";

/// The transactional outbox: migrate the tables, run the relay, look after dead letters.
#[derive(Debug, Parser)]
#[command(name = "outbox", version, after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

// Not from the environment by clap: its help would show the password that is set there.
#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// The configuration [default: outbox.toml, if it exists].
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The database: postgres:, postgresql:, mysql:, mariadb: or sqlite:.
    #[arg(long, global = true, value_name = "URL", hide_default_value = true)]
    store: Option<String>,
    /// The schema of the tables; in MySQL and MariaDB the database.
    #[arg(long, global = true, value_name = "NAME")]
    schema: Option<String>,
    /// The prefix of the tables' names.
    #[arg(long, global = true, value_name = "PREFIX")]
    prefix: Option<String>,
    /// Print JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create the tables, or bring them to the version of this program.
    Migrate,
    /// Deliver what is in the outbox, until SIGTERM or SIGINT; on SIGUSR1 print the counters.
    Relay(RelayOptions),
    /// What waits, what stands still, and who works.
    Status(StatusOptions),
    /// Look at the database, the brokers and the topics: what is wrong, and what to do about it.
    ///
    /// Publishes and changes nothing. Exit code 1 if there is an error, with --strict also if there is a warning.
    Doctor(DoctorOptions),
    /// Messages that were given up.
    #[command(subcommand)]
    Dead(DeadCommand),
    /// What consumers have handled.
    #[command(subcommand)]
    Inbox(InboxCommand),
    /// The tables as SQL.
    #[command(subcommand)]
    Schema(SchemaCommand),
    /// The shards that relays share.
    #[command(subcommand)]
    Shards(ShardsCommand),
    /// The configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print what is in effect, and where each value comes from. Shows no passwords; needs no database and no broker.
    Show {
        /// The broker, as for `relay`.
        #[arg(long, value_name = "URL")]
        transport: Option<String>,
    },
    /// Print every key, its variable, what is allowed and its default, as Markdown.
    Reference,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RelayOptions {
    /// The broker: kafka:, amqp:, amqps:, nats:, tls:, redis:, rediss:, stdout: or memory:.
    #[arg(long, value_name = "URL")]
    pub(crate) transport: Option<String>,
    /// Stop when nothing is left to deliver.
    #[arg(long)]
    pub(crate) drain: bool,
    /// Serve /metrics, /healthz and /readyz at this address, whatever the configuration says of it.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) metrics_listen: Option<SocketAddr>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DoctorOptions {
    /// The broker, as for `relay`.
    #[arg(long, value_name = "URL")]
    pub(crate) transport: Option<String>,
    /// A topic that is to have where to go, beside those of the routes and of messages that wait.
    #[arg(long = "topic", value_name = "TOPIC")]
    pub(crate) topics: Vec<Topic>,
    /// Let warnings fail, too.
    #[arg(long)]
    pub(crate) strict: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct StatusOptions {
    /// Count no further than this.
    #[arg(long, value_name = "ROWS", default_value_t = 100_000)]
    pub(crate) count_limit: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadCommand {
    /// List them, the newest first.
    List {
        /// Only those of this topic.
        #[arg(long)]
        topic: Option<String>,
        /// At most this many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Show one, with its payload.
    Show {
        /// The message.
        id: MessageId,
        /// Do not cut a long payload.
        #[arg(long)]
        full: bool,
    },
    /// Have them delivered after all; a parked key comes along as a whole.
    Replay {
        /// The messages: dead letters, or the head of a blocked key.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<MessageId>,
    },
    /// Give them up for good; the rest of a parked key is delivered.
    Discard {
        /// The messages: dead letters, or the head of a blocked key.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<MessageId>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum InboxCommand {
    /// Forget messages that were handled long ago, as consumers do by themselves.
    ///
    /// A message that is forgotten and comes again is handled again.
    Purge {
        /// Whose inbox.
        consumer: String,
        /// How long ago, as 7d or 12h [default: the inbox.retention of the configuration].
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
        keep: Option<Duration>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SchemaCommand {
    /// Print the migrations. Needs no database.
    Print {
        /// Whose SQL.
        #[arg(long)]
        dialect: DialectName,
    },
    /// Write the migrations as files of the tool that applies yours. Needs no database, and overwrites no file.
    Export {
        /// Whose files.
        #[arg(long = "for", value_name = "TOOL")]
        tool: MigrationTool,
        /// Whose SQL.
        #[arg(long)]
        dialect: DialectName,
        /// The folder of the migrations; made if it is not there.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Compare the tables with what the migrations made; exit code 1 if they differ.
    Check,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum MigrationTool {
    /// One file, for `sqlx migrate run` and `sqlx::migrate!`.
    Sqlx,
    /// A folder with up.sql and down.sql, for `diesel migration run` and `embed_migrations!`.
    Diesel,
    /// A module with its SQL, for the list of a `MigratorTrait`.
    SeaOrm,
    /// One file, for `refinery migrate` and `embed_migrations!`.
    Refinery,
    /// Two files, up and down, for any other.
    Sql,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ShardsCommand {
    /// Change their number: a power of two from 1 to 64. All relays must be stopped.
    Set {
        /// How many.
        count: u8,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum DialectName {
    Postgres,
    /// MariaDB, too.
    Mysql,
    Sqlite,
}

impl From<DialectName> for Dialect {
    fn from(name: DialectName) -> Self {
        match name {
            DialectName::Postgres => Self::Postgres,
            DialectName::Mysql => Self::MySql,
            DialectName::Sqlite => Self::Sqlite,
        }
    }
}

impl Common {
    /// File, environment and flags together.
    pub(crate) fn config(&self, transport: Option<&str>) -> Result<Config> {
        let sources = Config::sources().environment();
        let sources = match &self.config {
            Some(path) => sources.file(path),
            None => sources.file_if_exists(Path::new("outbox.toml")),
        };
        let config = sources
            .set_if_some("store.url", self.store.as_deref())
            .set_if_some("store.schema", self.schema.as_deref())
            .set_if_some("store.table_prefix", self.prefix.as_deref())
            .set_if_some("transport.url", transport)
            .load()?;
        Ok(config)
    }

    /// The store, whatever is in it.
    pub(crate) async fn store(&self) -> Result<Arc<dyn Store>> {
        Ok(self.config(None)?.connect_store().await?)
    }

    /// The store, migrated to the version of this program.
    pub(crate) async fn migrated_store(&self) -> Result<Arc<dyn Store>> {
        let store = self.store().await?;
        store.check().await?;
        Ok(store)
    }
}
