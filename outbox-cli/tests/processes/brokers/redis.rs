use outbox_conformance::servers::Server;
use outbox_conformance::started;
use outbox_conformance::transport_suite::BrokerProcess as _;
use redis::Commands as _;
use redis::streams::{StreamId, StreamRangeReply};
use tokio::runtime::Runtime;

use super::{Broker, Received, TOPICS, runtime};

/// A Redis that writes everything to its file before it answers, and a plain client.
pub(crate) struct Redis {
    server: Server,
    runtime: Runtime,
}

impl Redis {
    /// `None`, with a printed line, if there is no `redis-server` here.
    pub(crate) fn start() -> Option<Self> {
        let runtime = runtime();
        let server = started("Redis (redis-server)", runtime.block_on(Server::redis(&[])))?;
        Some(Self { server, runtime })
    }

    fn client(&self) -> redis::Connection {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.server.port())).unwrap();
        client.get_connection().unwrap()
    }
}

impl Broker for Redis {
    fn name(&self) -> &'static str {
        "Redis"
    }

    fn transport(&self) -> String {
        format!("redis://127.0.0.1:{}", self.server.port())
    }

    fn kill(&self) {
        self.runtime.block_on(self.server.kill());
    }

    fn restart(&self) {
        self.runtime.block_on(self.server.start());
    }

    fn stored(&self) -> u64 {
        let mut client = self.client();
        TOPICS.iter().map(|topic| client.xlen::<_, u64>(*topic).unwrap()).sum()
    }

    fn read_all(&self) -> Vec<Received> {
        let mut client = self.client();
        let mut all = Vec::new();
        for topic in TOPICS {
            let entries: StreamRangeReply = client.xrange_all(topic).unwrap();
            all.extend(entries.ids.iter().map(|entry| received(topic, entry)));
        }
        all
    }
}

fn received(topic: &str, entry: &StreamId) -> Received {
    let text = |field| entry.get::<String>(field).unwrap_or_default();
    Received {
        id: text("ce-id").replace('-', ""),
        topic: topic.to_owned(),
        key: text("outbox-key"),
        payload: entry.get("payload").unwrap(),
    }
}
