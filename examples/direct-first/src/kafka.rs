use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::{Result, ensure};
use outbox::Event as _;
use outbox_conformance::Proxy;
use outbox_conformance::servers::Server;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::RDKafkaLogLevel;
use tokio::net::TcpStream;

use crate::ParcelScanned;

const PARTITIONS: i32 = 4;

/// How Kafka is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Outage {
    /// Its connections are cut, and nobody listens where it was: it was stopped.
    Refused,
    /// Its connections stay, and nothing comes through them: the network is broken, or the machine hangs.
    Silent,
}

/// A broker that speaks Kafka's protocol, and the only way to it, which can be closed. It keeps what it has while it
/// can't be reached.
#[derive(Debug)]
pub struct Kafka {
    broker: Server,
    /// Where the broker tells its clients to come to.
    port: u16,
    way: Option<Proxy>,
}

impl Kafka {
    /// `None` if there is no such broker on this machine.
    ///
    /// # Errors
    ///
    /// If it does not work.
    pub async fn start() -> Result<Option<Self>> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let Some(broker) = Server::kafka_in_memory(Some(port)).await else { return Ok(None) };
        let way = Proxy::at(port, broker.port()).await;
        let kafka = Self { broker, port, way: Some(way) };
        let admin: AdminClient<DefaultClientContext> = kafka.client().create()?;
        let topic = NewTopic::new(ParcelScanned::TOPIC, PARTITIONS, TopicReplication::Fixed(1));
        let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(10)));
        let created = admin.create_topics([&topic], &options).await?;
        ensure!(created.iter().all(Result::is_ok), "the topic can't be created: {created:?}");
        Ok(Some(kafka))
    }

    /// For the transport.
    #[must_use]
    pub fn url(&self) -> String {
        // One record in each batch: this broker does not find the rest of a batch that a reader has read half of. That is
        // slow, so fewer are under way than it would take otherwise: all of a call are to be confirmed in time.
        format!(
            "kafka://localhost:{}?batch_bytes=1&max_in_flight=200&publish_timeout=3s&connect_timeout=1s",
            self.port
        )
    }

    /// For any other client.
    #[must_use]
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", format!("localhost:{}", self.port))
            .set("reconnect.backoff.max.ms", "500")
            // Its answer may have been lost.
            .set("socket.timeout.ms", "3000")
            .set_log_level(RDKafkaLogLevel::Emerg);
        config
    }

    /// From now on it can't be reached.
    pub async fn goes_away(&mut self, outage: Outage) {
        match outage {
            Outage::Refused => {
                self.way = None;
                while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.is_ok() {
                    tokio::task::yield_now().await;
                }
            }
            Outage::Silent => self.is_silent(true),
        }
    }

    /// From now on it can be reached again.
    pub async fn comes_back(&mut self) {
        match self.way {
            Some(_) => self.is_silent(false),
            None => self.way = Some(Proxy::at(self.port, self.broker.port()).await),
        }
    }

    fn is_silent(&self, silent: bool) {
        if let Some(way) = &self.way {
            way.black_hole(silent);
        }
    }
}
