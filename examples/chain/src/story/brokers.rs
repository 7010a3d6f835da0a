use anyhow::{Context, Result};
use async_nats::jetstream::{self, consumer::pull};
use futures_util::TryStreamExt;
use lapin::options::{BasicConsumeOptions, ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties, Consumer};
use outbox::Event;

use super::Missing;
use crate::events::{OrderBilled, OrderShipped};
use crate::run::Run;
use crate::service::{billing, orders, shipping};

/// The brokers by their own clients: an operator's view, that the services do not need.
pub(super) struct Brokers {
    nats: jetstream::Context,
    rabbitmq: Connection,
}

impl Brokers {
    pub(super) async fn connect(run: &Run) -> Result<Self> {
        let missing = |service, variable, error: &dyn std::error::Error| Missing {
            service,
            variable,
            error: error.to_string(),
        };
        let nats = async_nats::connect(&run.nats_url).await;
        let nats = jetstream::new(nats.map_err(|error| missing("NATS", Run::NATS, &error))?);
        let streams = nats.stream_names().try_next().await;
        streams.map_err(|error| missing("JetStream of NATS", Run::NATS, &error))?;
        let rabbitmq = Connection::connect(&run.rabbitmq_url, ConnectionProperties::default()).await;
        let rabbitmq = rabbitmq.map_err(|error| missing("RabbitMQ", Run::RABBITMQ, &error))?;
        Ok(Self { nats, rabbitmq })
    }

    /// Makes the stream, the exchange, the queues and the groups before the first message: a group that comes later
    /// would not get what was published before.
    pub(super) async fn prepare(&self, run: &Run) -> Result<()> {
        outbox::connect_transport(&run.publish_to_nats()).await?.check().await?;
        let both = [OrderBilled::TOPIC, OrderShipped::TOPIC].join(",");
        for group in [
            run.read_nats(billing::NAME, &run.placed()),
            run.read_rabbitmq(shipping::NAME, OrderBilled::TOPIC),
            run.read_rabbitmq(orders::NAME, &both),
        ] {
            outbox::connect_subscription(&group).await?.check().await?;
        }
        Ok(())
    }

    /// All messages of a subject of a stream.
    pub(super) async fn read_nats(&self, stream: &str, subject: String) -> Result<pull::Stream> {
        let reader = Some("operator".to_owned());
        let config =
            pull::Config { durable_name: reader, filter_subject: subject, ..pull::Config::default() };
        Ok(self.nats.create_consumer_on_stream(config, stream).await?.messages().await?)
    }

    /// All messages of a queue.
    pub(super) async fn read_rabbitmq(&self, queue: &str) -> Result<Consumer> {
        let channel = self.rabbitmq.create_channel().await?;
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        Ok(channel.basic_consume(queue.into(), "".into(), options, arguments).await?)
    }

    /// Messages that somebody has to receive or to settle yet.
    pub(super) async fn left(&self, run: &Run) -> Result<u64> {
        let mut left = 0;
        let stream = self.nats.get_stream(&run.name).await?;
        let mut groups = stream.consumers();
        while let Some(group) = groups.try_next().await? {
            left += group.num_pending + u64::try_from(group.num_ack_pending)?;
        }
        let channel = self.rabbitmq.create_channel().await?;
        for queue in queues(run) {
            left += u64::from(messages(&channel, &queue).await?);
        }
        channel.close(200, "done".into()).await?;
        Ok(left)
    }

    pub(super) async fn remove(&self, run: &Run) -> Result<()> {
        // Its groups go with it.
        let stream = self.nats.delete_stream(&run.name).await;
        let channel = self.rabbitmq.create_channel().await?;
        for queue in queues(run) {
            channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
        }
        channel.exchange_delete(run.name.as_str().into(), ExchangeDeleteOptions::default()).await?;
        self.rabbitmq.close(200, "done".into()).await?;
        stream.context("the stream is left behind")?;
        Ok(())
    }
}

fn queues(run: &Run) -> [String; 4] {
    let [first, second] = [orders::NAME, shipping::NAME];
    [run.group(first), run.dead_letters(first), run.group(second), run.dead_letters(second)]
}

/// Those that nobody has received yet.
async fn messages(channel: &Channel, queue: &str) -> Result<u32> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    Ok(channel.queue_declare(queue.into(), passive, FieldTable::default()).await?.message_count())
}
