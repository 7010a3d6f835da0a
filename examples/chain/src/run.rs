use std::path::PathBuf;

/// Where the services are, and what everything of this run is called in them: nothing of it is shared with another run.
///
/// The processes are told by their environment, so that no password is among the arguments, which everybody can see.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Run {
    /// PostgreSQL
    #[arg(long, env = Self::POSTGRES, hide_env_values = true, global = true)]
    #[arg(default_value = "postgres://postgres@127.0.0.1:5432/postgres")]
    pub(crate) postgres_url: String,
    /// NATS with JetStream
    #[arg(long, env = Self::NATS, hide_env_values = true, global = true)]
    #[arg(default_value = "nats://127.0.0.1:4222")]
    pub(crate) nats_url: String,
    /// RabbitMQ
    #[arg(long, env = Self::RABBITMQ, hide_env_values = true, global = true)]
    #[arg(default_value = "amqp://127.0.0.1:5672")]
    pub(crate) rabbitmq_url: String,
    /// The name of the run
    #[arg(long, env = Self::NAME, hide = true, global = true, default_value_t = fresh_name())]
    pub(crate) name: String,
    /// The folder of the run
    #[arg(long, env = Self::FOLDER, hide = true, global = true, default_value = ".")]
    pub(crate) folder: PathBuf,
}

fn fresh_name() -> String {
    format!("chain_{:08x}", fastrand::u32(..))
}

impl Run {
    pub(crate) const POSTGRES: &'static str = "POSTGRES_URL";
    pub(crate) const NATS: &'static str = "NATS_URL";
    pub(crate) const RABBITMQ: &'static str = "RABBITMQ_URL";
    const NAME: &'static str = "CHAIN_RUN";
    const FOLDER: &'static str = "CHAIN_FOLDER";

    /// What tells a process about this run.
    pub(crate) fn environment(&self) -> [(&'static str, String); 5] {
        [
            (Self::POSTGRES, self.postgres_url.clone()),
            (Self::NATS, self.nats_url.clone()),
            (Self::RABBITMQ, self.rabbitmq_url.clone()),
            (Self::NAME, self.name.clone()),
            (Self::FOLDER, self.folder.display().to_string()),
        ]
    }

    /// The database of a service.
    pub(crate) fn database(&self, service: &str) -> anyhow::Result<String> {
        let mut url: url::Url = self.postgres_url.parse()?;
        url.set_path(&format!("{}_{service}", self.name));
        Ok(url.into())
    }

    /// The database of shipping.
    pub(crate) fn shipping_file(&self) -> PathBuf {
        self.folder.join("shipping.db")
    }

    /// What has become of each try.
    pub(crate) fn book(&self) -> PathBuf {
        self.folder.join("tries")
    }

    /// The log of a service.
    pub(crate) fn log(&self, service: &str) -> PathBuf {
        self.folder.join(format!("{service}.log"))
    }

    /// Where `OrderPlaced` goes. NATS has one space of subjects for all, so each run has a topic of its own.
    pub(crate) fn placed(&self) -> String {
        format!("{}.orders.placed", self.name)
    }

    /// The name of a group, and with RabbitMQ that of its queue.
    pub(crate) fn group(&self, service: &str) -> String {
        format!("{}-{service}", self.name)
    }

    /// What takes what a group gave up.
    pub(crate) fn dead_letters(&self, service: &str) -> String {
        format!("{}.{service}.dead", self.name)
    }

    pub(crate) fn publish_to_nats(&self) -> String {
        let name = &self.name;
        with(&self.nats_url, &format!("stream={name}&create=true&subjects={name}.>&publish_timeout=1500ms"))
    }

    pub(crate) fn publish_to_rabbitmq(&self) -> String {
        with(&self.rabbitmq_url, &format!("exchange={}&create=true&publish_timeout=1500ms", self.name))
    }

    /// Reads the orders, for billing.
    pub(crate) fn read_nats(&self, service: &str, topic: &str) -> String {
        let (group, dead) = (self.group(service), self.dead_letters(service));
        // The default is 30 s. What a killed process had comes again sooner.
        let times = "redeliver_after=5s";
        let group = format!("group={group}&topics={topic}&create=true&dead_letters={dead}&{times}");
        with(&self.nats_url, &group)
    }

    /// Reads what billing and shipping have done.
    pub(crate) fn read_rabbitmq(&self, service: &str, topics: &str) -> String {
        let (group, dead, exchange) = (self.group(service), self.dead_letters(service), &self.name);
        let group =
            format!("exchange={exchange}&group={group}&topics={topics}&create=true&dead_letters={dead}");
        with(&self.rabbitmq_url, &group)
    }
}

fn with(url: &str, parameters: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}{parameters}")
}
