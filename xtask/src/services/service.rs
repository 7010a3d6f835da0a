use std::io;

use anyhow::{Result, anyhow};
use url::Url;

use super::probe;
use super::tool::Tool;

/// A database or broker, and how to come by one.
pub(crate) struct Service {
    /// Its name here and in `compose.yaml`.
    pub(crate) name: &'static str,
    /// The crates whose tests need it. A service is needed as soon as one of them exists.
    pub(crate) used_by: &'static [&'static str],
    /// The variable in which the tests look for its URL.
    pub(crate) variable: &'static str,
    /// Where it usually is.
    pub(crate) usual: &'static str,
    /// Asks for its version, in its own protocol, as the user in the URL: an open port is no service yet.
    probe: fn(&Url) -> Result<String>,
    /// How to start a private one.
    pub(crate) private: Private,
}

/// How to start a private instance. In the commands and the environment, `{data}`, `{port}` and `{other_port}` are
/// filled in.
pub(crate) struct Private {
    /// The Debian packages of the programs.
    pub(crate) packages: &'static [&'static str],
    /// The program, where no package has it.
    pub(crate) tool: Option<&'static Tool>,
    /// The user to run it as, where everything else runs as root: some servers refuse root.
    pub(crate) user: &'static str,
    /// Makes the data directory; empty if the server does that itself.
    pub(crate) prepare: &'static [&'static str],
    /// The server, in the foreground; empty if it can't be started here.
    pub(crate) serve: &'static [&'static str],
    /// Variables of its environment.
    pub(crate) env: &'static [(&'static str, &'static str)],
    /// The signal for a quick and orderly stop, and the URL once it runs.
    pub(crate) stop: &'static str,
    pub(crate) url: &'static str,
}

impl Service {
    /// Asks the server at a URL for its version.
    pub(crate) fn ask(&self, url: &Url) -> Result<String> {
        (self.probe)(url).map_err(|error| match error.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::UnexpectedEof) => {
                anyhow!("something listens there, but it does not answer as {}", self.name)
            }
            _ => error,
        })
    }
}

pub(crate) static SERVICES: [Service; 6] = [
    Service {
        name: "postgres",
        used_by: &["outbox-sqlx", "outbox-diesel", "outbox-seaorm"],
        variable: "OUTBOX_TEST_POSTGRES_URL",
        usual: "postgres://postgres@127.0.0.1:5432/postgres",
        probe: probe::postgres,
        private: Private {
            packages: &["postgresql"],
            tool: None,
            user: "postgres",
            prepare: &[
                "initdb",
                "--pgdata={data}",
                "--username=postgres",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ],
            // No socket: its directory would have to be writable and its path short.
            serve: &[
                "postgres",
                "-D",
                "{data}",
                "-p",
                "{port}",
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "unix_socket_directories=",
                "-c",
                "max_connections=200",
            ],
            env: &[],
            stop: "INT",
            url: "postgres://postgres@127.0.0.1:{port}/postgres",
        },
    },
    Service {
        name: "mariadb",
        used_by: &["outbox-sqlx", "outbox-diesel", "outbox-seaorm"],
        variable: "OUTBOX_TEST_MYSQL_URL",
        usual: "mysql://root@127.0.0.1:3306/test",
        probe: probe::mysql,
        private: Private {
            packages: &["mariadb-server"],
            tool: None,
            user: "mysql",
            prepare: &[
                "mariadb-install-db",
                "--no-defaults",
                "--datadir={data}",
                "--auth-root-authentication-method=normal",
            ],
            serve: &[
                "mariadbd",
                "--no-defaults",
                "--datadir={data}",
                "--port={port}",
                "--bind-address=127.0.0.1",
                "--socket=mariadb.sock",
                "--pid-file=mariadb.pid",
                "--max-connections=200",
            ],
            env: &[],
            stop: "TERM",
            url: "mysql://root@127.0.0.1:{port}/test",
        },
    },
    Service {
        name: "nats",
        used_by: &["outbox-nats"],
        variable: "OUTBOX_TEST_NATS_URL",
        usual: "nats://127.0.0.1:4222",
        probe: probe::nats,
        private: Private {
            packages: &["nats-server"],
            tool: None,
            user: "nats",
            prepare: &[],
            serve: &["nats-server", "-a", "127.0.0.1", "-p", "{port}", "-js", "-sd", "{data}"],
            env: &[],
            stop: "TERM",
            url: "nats://127.0.0.1:{port}",
        },
    },
    Service {
        name: "redis",
        used_by: &["outbox-redis"],
        variable: "OUTBOX_TEST_REDIS_URL",
        usual: "redis://127.0.0.1:6379",
        probe: probe::redis,
        private: Private {
            packages: &["redis-server"],
            tool: None,
            user: "redis",
            prepare: &[],
            serve: &[
                "redis-server",
                "--bind",
                "127.0.0.1",
                "--port",
                "{port}",
                "--dir",
                "{data}",
                "--save",
                "",
                "--appendonly",
                "no",
                // By its command line it is known as ours.
                "--set-proc-title",
                "no",
            ],
            env: &[],
            stop: "TERM",
            url: "redis://127.0.0.1:{port}",
        },
    },
    Service {
        name: "rabbitmq",
        used_by: &["outbox-amqp"],
        variable: "OUTBOX_TEST_AMQP_URL",
        usual: "amqp://guest:guest@127.0.0.1:5672/%2f",
        probe: probe::amqp,
        private: Private {
            packages: &["rabbitmq-server"],
            tool: None,
            user: "rabbitmq",
            prepare: &[],
            // Not the one on the path, which is for the one system-wide node. The flag means nothing to Erlang; the
            // process is known by it.
            serve: &["/usr/lib/rabbitmq/bin/rabbitmq-server", "-outbox_data", "{data}"],
            env: &[
                ("HOME", "{data}"),
                ("RABBITMQ_NODENAME", "outbox-{port}@localhost"),
                ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1"),
                ("RABBITMQ_NODE_PORT", "{port}"),
                ("RABBITMQ_DIST_PORT", "{other_port}"),
                ("RABBITMQ_MNESIA_BASE", "{data}"),
                ("RABBITMQ_LOG_BASE", "{data}"),
                ("RABBITMQ_CONFIG_FILE", "{data}/none"),
                ("RABBITMQ_ENABLED_PLUGINS_FILE", "{data}/plugins"),
            ],
            stop: "TERM",
            url: "amqp://guest:guest@127.0.0.1:{port}/%2f",
        },
    },
    Service {
        name: "kafka",
        used_by: &["outbox-kafka"],
        variable: "OUTBOX_TEST_KAFKA_URL",
        usual: "kafka://127.0.0.1:9092",
        probe: probe::kafka,
        private: Private {
            packages: &[],
            tool: Some(&super::tool::TANSU),
            // It lies in the cache of whoever has built it.
            user: "root",
            prepare: &[],
            // In memory: what survives a restart is tested with brokers of the tests' own.
            serve: &[
                "tansu",
                "broker",
                "--cluster-id",
                "{data}",
                "--listener-url",
                "tcp://127.0.0.1:{port}",
                "--advertised-listener-url",
                "tcp://127.0.0.1:{port}",
                "--storage-engine",
                "memory://tansu/",
            ],
            env: &[],
            stop: "TERM",
            url: "kafka://127.0.0.1:{port}",
        },
    },
];
