use std::pin::Pin;
use std::sync::Arc;

use outbox_core::{BoxError, Transport};

use crate::ConnectError;
use crate::scheme::{Role, Scheme};
use crate::stdout::StdoutTransport;

type Opening<'a> = Pin<Box<dyn Future<Output = Result<Arc<dyn Transport>, BoxError>> + Send + 'a>>;
type Open = for<'a> fn(&'a str) -> Opening<'a>;

/// What opens a broker, if its cargo feature is on.
macro_rules! broker {
    ($name:ident, $feature:literal, $transport:path) => {
        #[cfg(feature = $feature)]
        const $name: Option<Open> = Some(|url| {
            Box::pin(async move {
                let transport = <$transport>::connect(url).await?;
                Ok(Arc::new(transport) as Arc<dyn Transport>)
            })
        });
        #[cfg(not(feature = $feature))]
        const $name: Option<Open> = None;
    };
}

broker!(KAFKA, "kafka", outbox_kafka::KafkaTransport);
broker!(AMQP, "amqp", outbox_amqp::AmqpTransport);
broker!(NATS, "nats", outbox_nats::NatsTransport);
broker!(REDIS, "redis", outbox_redis::RedisTransport);

#[cfg(feature = "memory")]
const MEMORY: Option<Open> = Some(|_| {
    Box::pin(async {
        // Nobody can ask this one for what it received, so it need not remember.
        Ok(Arc::new(outbox_memory::MemoryTransport::unrecorded()) as Arc<dyn Transport>)
    })
});
#[cfg(not(feature = "memory"))]
const MEMORY: Option<Open> = None;

const STDOUT: Option<Open> =
    Some(|_| Box::pin(async { Ok(Arc::new(StdoutTransport::new()) as Arc<dyn Transport>) }));

const SCHEMES: &[Scheme<Open>] = &[
    Scheme::new("kafka", "kafka", KAFKA),
    Scheme::new("amqp", "amqp", AMQP),
    Scheme::new("amqps", "amqp", AMQP),
    Scheme::new("nats", "nats", NATS),
    Scheme::new("tls", "nats", NATS),
    Scheme::new("redis", "redis", REDIS),
    Scheme::new("rediss", "redis", REDIS),
    Scheme::new("memory", "memory", MEMORY),
    Scheme::new("stdout", "", STDOUT),
];

/// The broker at a URL: `kafka:`, `amqp:` or `amqps:` (RabbitMQ), `nats:` or `tls:` (NATS with TLS), `redis:` or
/// `rediss:`, `stdout:` ([`StdoutTransport`]), or `memory:`, a broker in the process that nobody is subscribed to, so
/// that messages are confirmed and gone.
///
/// A broker that can't be reached is no error: its transport says so in the log, and connects when it has something to
/// publish.
///
/// # Errors
///
/// [`ConnectError`] if the scheme is not known, its feature is off, or the URL is wrong. No text repeats the URL.
///
/// # Cancel safety
///
/// Yes.
pub async fn connect_transport(url: &str) -> Result<Arc<dyn Transport>, ConnectError> {
    let open = Scheme::find(SCHEMES, Role::Transport, url)?;
    open(url).await.map_err(ConnectError::Transport)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn error(url: &str) -> String {
        match connect_transport(url).await {
            Ok(_) => panic!("it was accepted"),
            Err(error) => format!("{error} {error:?}"),
        }
    }

    #[tokio::test]
    async fn the_scheme_chooses_the_broker() {
        let name = async |url| connect_transport(url).await.unwrap().capabilities().name;
        assert_eq!(name("stdout:").await, "stdout");
        #[cfg(feature = "memory")]
        assert_eq!(name("memory:").await, "memory");
        // A broker that is down is no error.
        #[cfg(feature = "kafka")]
        assert_eq!(name("kafka://127.0.0.1:1").await, "kafka");
        #[cfg(feature = "amqp")]
        assert_eq!(name("amqp://127.0.0.1:1").await, "amqp");
        #[cfg(feature = "nats")]
        assert_eq!(name("nats://127.0.0.1:1").await, "nats");
        #[cfg(feature = "redis")]
        assert_eq!(name("redis://127.0.0.1:1").await, "redis");
    }

    #[tokio::test]
    async fn an_unknown_scheme_names_what_is_known() {
        let text = error("carrier-pigeon://u:c4nary@h").await;
        let known = "known are kafka, amqp, amqps, nats, tls, redis, rediss, memory, stdout";
        assert!(text.contains("`carrier-pigeon`") && text.contains(known), "{text}");
        assert!(!text.contains("c4nary"), "{text}");
    }

    #[tokio::test]
    async fn a_wrong_url_is_not_repeated() {
        for scheme in SCHEMES.iter().filter(|scheme| !scheme.feature.is_empty() && scheme.name != "memory") {
            for rest in ["//u:c4nary@h:x", "//u:c4nary@h?strem=ORDERS", "c4nary"] {
                let text = error(&format!("{}:{rest}", scheme.name)).await;
                assert!(!text.contains("c4nary"), "{text}");
            }
        }
    }
}
