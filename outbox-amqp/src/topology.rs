#[cfg(feature = "subscription")]
use lapin::options::QueueBindOptions;
use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind, Queue};

use crate::QueueType;

/// Declares a durable topic exchange, or only asks whether one of that name exists. The default exchange always does.
pub(crate) async fn exchange(channel: &Channel, name: &str, create: bool) -> lapin::Result<()> {
    if name.is_empty() {
        return Ok(());
    }
    let options =
        ExchangeDeclareOptions { passive: !create, durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(name.into(), ExchangeKind::Topic, options, FieldTable::default()).await
}

/// Declares a durable queue.
pub(crate) async fn queue(channel: &Channel, name: &str, kind: QueueType) -> lapin::Result<Queue> {
    declare(channel, name, kind, FieldTable::default()).await
}

async fn declare(
    channel: &Channel,
    name: &str,
    kind: QueueType,
    mut arguments: FieldTable,
) -> lapin::Result<Queue> {
    let kind = match kind {
        QueueType::Quorum => "quorum",
        QueueType::Classic => "classic",
    };
    arguments.insert("x-queue-type".into(), AMQPValue::LongString(kind.into()));
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(name.into(), options, arguments).await
}

/// Declares the durable queue of a group. What RabbitMQ itself gives up, because it was delivered more often than a limit of
/// the server's or of a policy says, goes where the group's own dead letters go, and is not deleted.
#[cfg(feature = "subscription")]
pub(crate) async fn group_queue(
    channel: &Channel,
    name: &str,
    kind: QueueType,
    dead_letters: &str,
) -> lapin::Result<Queue> {
    let mut arguments = FieldTable::default();
    arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString("".into()));
    arguments.insert("x-dead-letter-routing-key".into(), AMQPValue::LongString(dead_letters.into()));
    declare(channel, name, kind, arguments).await
}

/// Asks whether a queue exists. If not, the channel is closed by the broker.
pub(crate) async fn find_queue(channel: &Channel, name: &str) -> lapin::Result<Queue> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(name.into(), passive, FieldTable::default()).await
}

#[cfg(feature = "subscription")]
pub(crate) async fn bind(channel: &Channel, queue: &str, exchange: &str, topic: &str) -> lapin::Result<()> {
    let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
    channel.queue_bind(queue.into(), exchange.into(), topic.into(), options, arguments).await
}

/// Whether the broker says that something of that name does not exist.
pub(crate) fn is_missing(error: &lapin::Error) -> bool {
    code(error) == Some(404)
}

/// Whether the broker says that something of that name exists, and is not what was declared.
pub(crate) fn is_different(error: &lapin::Error) -> bool {
    code(error) == Some(406)
}

/// The code of an error that the broker has sent.
pub(crate) fn code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        lapin::ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}
