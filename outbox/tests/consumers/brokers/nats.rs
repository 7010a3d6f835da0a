use std::time::Duration;

use async_nats::jetstream::{self, consumer};
use async_trait::async_trait;
use futures_util::StreamExt as _;
use outbox_conformance::servers::Server;
use outbox_conformance::started;

use super::{Broker, DeadLetter, TOPIC};
use crate::eventually::until;
use crate::worker::CONSUMER;

/// A NATS server of its own, with one stream for the topic and the dead letters.
pub(crate) struct Nats(Server);

const STREAM: &str = "CONSUMERS";

pub(crate) async fn nats() -> Option<Nats> {
    let nats = started("NATS (nats-server)", Server::nats(None).await).map(Nats)?;
    // Its port may open before JetStream answers.
    until("JetStream answers", Duration::from_secs(30), async || {
        let Ok(client) = async_nats::connect(nats.url()).await else { return false };
        jetstream::new(client).stream_names().next().await.is_none_or(|name| name.is_ok())
    })
    .await;
    Some(nats)
}

impl Nats {
    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.0.port())
    }
}

#[async_trait]
impl Broker for Nats {
    fn name(&self) -> &'static str {
        "NATS"
    }

    fn transport(&self) -> String {
        format!("{}?stream={STREAM}&create=true&subjects={TOPIC},{CONSUMER}.dead", self.url())
    }

    fn subscription(&self) -> String {
        format!("{}?create=true&group={CONSUMER}&topics={TOPIC}", self.url())
    }

    fn keeps_order_across_crashes(&self) -> bool {
        false
    }

    async fn dead_letters(&self) -> Vec<DeadLetter> {
        let client = async_nats::connect(self.url()).await.unwrap();
        let stream = jetstream::new(client).get_stream(STREAM).await.unwrap();
        let config = consumer::pull::Config {
            ack_policy: consumer::AckPolicy::None,
            filter_subject: format!("{CONSUMER}.dead"),
            ..consumer::pull::Config::default()
        };
        let consumer = stream.create_consumer(config).await.unwrap();
        let stored = usize::try_from(consumer.cached_info().num_pending).unwrap();
        let mut found = Vec::new();
        while found.len() < stored {
            let some = consumer.fetch().max_messages(stored).expires(Duration::from_secs(10));
            let mut some = some.messages().await.unwrap();
            while let Some(message) = some.next().await {
                found.push(dead_letter(&message.unwrap()));
            }
        }
        found
    }
}

fn dead_letter(message: &jetstream::Message) -> DeadLetter {
    let header = |name| {
        let value = message.headers.as_ref().and_then(|headers| headers.get(name));
        value.map_or_else(String::new, |value| value.as_str().to_owned())
    };
    DeadLetter {
        id: header("ce-id"),
        reason: header("outbox-dead-reason"),
        group: header("outbox-dead-group"),
        topic: header("outbox-dead-topic"),
        payload: message.payload.to_vec(),
    }
}
