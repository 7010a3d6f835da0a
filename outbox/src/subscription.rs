use std::pin::Pin;

use outbox_core::{BoxError, Subscription};

use crate::ConnectError;
use crate::scheme::{Role, Scheme};

type Opening<'a> = Pin<Box<dyn Future<Output = Result<Box<dyn Subscription>, BoxError>> + Send + 'a>>;
type Open = for<'a> fn(&'a str) -> Opening<'a>;

/// What opens a subscription, if its broker's cargo feature is on.
macro_rules! broker {
    ($name:ident, $feature:literal, $subscription:path) => {
        #[cfg(feature = $feature)]
        const $name: Option<Open> = Some(|url| {
            Box::pin(async move {
                let subscription = <$subscription>::connect(url).await?;
                Ok(Box::new(subscription) as Box<dyn Subscription>)
            })
        });
        #[cfg(not(feature = $feature))]
        const $name: Option<Open> = None;
    };
}

broker!(KAFKA, "kafka", outbox_kafka::KafkaSubscription);
broker!(AMQP, "amqp", outbox_amqp::AmqpSubscription);
broker!(NATS, "nats", outbox_nats::NatsSubscription);
broker!(REDIS, "redis", outbox_redis::RedisSubscription);

const SCHEMES: &[Scheme<Open>] = &[
    Scheme::new("kafka", "kafka", KAFKA),
    Scheme::new("amqp", "amqp", AMQP),
    Scheme::new("amqps", "amqp", AMQP),
    Scheme::new("nats", "nats", NATS),
    Scheme::new("tls", "nats", NATS),
    Scheme::new("redis", "redis", REDIS),
    Scheme::new("rediss", "redis", REDIS),
];

/// A member of a group that reads topics, by the URL of the broker: `nats://localhost?group=billing&topics=orders.placed`.
/// The schemes are those of [`connect_transport`](crate::connect_transport), the parameters `group`, `topics`,
/// `prefetch`, `redeliver_after` and `dead_letters` the same for every broker
/// ([`SubscribeOptions`](outbox_core::SubscribeOptions)).
///
/// A broker that can't be reached is no error: the subscription says so in the log, and connects when it is read.
///
/// # Errors
///
/// [`ConnectError`] if the scheme is not known, its feature is off, or the URL is wrong. No text repeats the URL.
///
/// # Cancel safety
///
/// Yes.
pub async fn connect_subscription(url: &str) -> Result<Box<dyn Subscription>, ConnectError> {
    let open = Scheme::find(SCHEMES, Role::Subscription, url)?;
    open(url).await.map_err(ConnectError::Transport)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_scheme_chooses_the_broker() {
        for scheme in SCHEMES {
            let url = format!("{}://u:c4nary@127.0.0.1:1?group=g&topics=t&exchange=e", scheme.name);
            match connect_subscription(&url).await {
                Ok(subscription) => assert_eq!(subscription.capabilities().name, scheme.feature),
                Err(error) => assert!(!format!("{error} {error:?}").contains("c4nary"), "{error}"),
            }
        }
    }
}
