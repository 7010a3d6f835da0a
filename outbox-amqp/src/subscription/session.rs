use std::sync::Arc;
use std::time::Duration;

use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};
use outbox_core::{SubscribeError, SubscribeErrorKind};
use tokio::time::timeout;

use super::config::AmqpSubscriptionConfig;
use crate::connection::Connection;
use crate::error::subscribe_error;
use crate::link::{Link, NoConnection};
use crate::topology;

/// How long one step may take.
pub(super) const STEP: Duration = Duration::from_secs(10);

/// Receiving by one connection.
pub(super) struct Session {
    pub(super) connection: Arc<Connection>,
    pub(super) channel: Channel,
    pub(super) consumer: Consumer,
}

/// The connection of a link, as this side tells why there is none.
pub(super) async fn connection(link: &Link) -> Result<Arc<Connection>, SubscribeError> {
    link.connection().await.map_err(|error| match error {
        NoConnection::Closed => closed(),
        NoConnection::Unreachable(text) => {
            let text = format!("RabbitMQ can't be reached at {text}");
            SubscribeError::new(SubscribeErrorKind::Unavailable, text)
        }
    })
}

pub(super) fn closed() -> SubscribeError {
    SubscribeError::new(SubscribeErrorKind::Closed, "the subscription is closed")
}

/// Declares what was asked for, and begins to receive.
pub(super) async fn open(link: &Link, config: &AmqpSubscriptionConfig) -> Result<Session, SubscribeError> {
    let connection = connection(link).await?;
    within(prepare(&connection, config)).await?;
    let what = format!("the queue {:?}", config.queue);
    let begin = async {
        let channel = connection.client().create_channel().await?;
        let prefetch = u16::try_from(config.options.prefetch).unwrap_or(u16::MAX);
        channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let consumer =
            channel.basic_consume(config.queue.as_str().into(), "".into(), options, arguments).await?;
        Ok((channel, consumer))
    };
    let (channel, consumer) =
        within(async { begin.await.map_err(|error| subscribe_error(&what, &error)) }).await?;
    Ok(Session { connection, channel, consumer })
}

/// Looks for the queue, or declares all that is needed. Each on a channel of its own: a no closes it.
pub(super) async fn prepare(
    connection: &Connection,
    config: &AmqpSubscriptionConfig,
) -> Result<(), SubscribeError> {
    let channel = async || connection.client().create_channel().await;
    if !config.create {
        let found = async { topology::find_queue(&channel().await?, &config.queue).await };
        return match found.await {
            Ok(_) => Ok(()),
            Err(error) => Err(subscribe_error(&format!("the queue {:?}", config.queue), &error)),
        };
    }
    if !config.exchange.is_empty() {
        let made = async { topology::exchange(&channel().await?, &config.exchange, true).await };
        left_as_it_is(made.await)
            .map_err(|error| subscribe_error(&format!("the exchange {:?}", config.exchange), &error))?;
    }
    let (queue, dead_letters) = (&config.queue, &config.options.dead_letters);
    let made = async {
        topology::group_queue(&channel().await?, queue, config.queue_type, dead_letters).await.map(drop)
    };
    left_as_it_is(made.await).map_err(|error| subscribe_error(&format!("the queue {queue:?}"), &error))?;
    let made = async { topology::queue(&channel().await?, dead_letters, config.queue_type).await.map(drop) };
    left_as_it_is(made.await)
        .map_err(|error| subscribe_error(&format!("the queue {dead_letters:?}"), &error))?;
    if !config.exchange.is_empty() {
        for topic in &config.options.topics {
            let bound = async {
                topology::bind(&channel().await?, &config.queue, &config.exchange, topic.as_str()).await
            };
            bound
                .await
                .map_err(|error| subscribe_error(&format!("the binding of {:?}", config.queue), &error))?;
        }
    }
    Ok(())
}

fn left_as_it_is(declared: lapin::Result<()>) -> lapin::Result<()> {
    match declared {
        Err(error) if topology::is_different(&error) => Ok(()),
        other => other,
    }
}

pub(super) async fn within<T>(
    step: impl Future<Output = Result<T, SubscribeError>>,
) -> Result<T, SubscribeError> {
    match timeout(STEP, step).await {
        Ok(result) => result,
        Err(_) => Err(silent()),
    }
}

pub(super) fn silent() -> SubscribeError {
    SubscribeError::new(SubscribeErrorKind::Unavailable, "RabbitMQ does not answer")
}
