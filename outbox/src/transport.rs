use std::pin::Pin;
use std::sync::Arc;

use outbox_core::{BoxError, Transport};

use crate::ConnectError;
use crate::scheme::{Role, Scheme};
use crate::stdout::StdoutTransport;

type Opening<'a> = Pin<Box<dyn Future<Output = Result<Arc<dyn Transport>, BoxError>> + Send + 'a>>;
type Open = for<'a> fn(&'a str) -> Opening<'a>;

#[cfg(feature = "nats")]
const NATS: Option<Open> = Some(|url| {
    Box::pin(async move {
        let transport = outbox_nats::NatsTransport::connect(url).await?;
        Ok(Arc::new(transport) as Arc<dyn Transport>)
    })
});
#[cfg(not(feature = "nats"))]
const NATS: Option<Open> = None;

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
    Scheme::new("nats", "nats", NATS),
    Scheme::new("tls", "nats", NATS),
    Scheme::new("memory", "memory", MEMORY),
    Scheme::new("stdout", "", STDOUT),
];

/// The broker at a URL: `nats:` or `tls:` (NATS with TLS), `stdout:` ([`StdoutTransport`]), or `memory:`, a broker in
/// the process that nobody is subscribed to, so that messages are confirmed and gone.
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
        #[cfg(feature = "nats")]
        assert_eq!(name("nats://127.0.0.1:1").await, "nats", "a broker that is down is no error");
    }

    #[tokio::test]
    async fn an_unknown_scheme_names_what_is_known() {
        let text = error("carrier-pigeon://u:c4nary@h").await;
        let known = "known are nats, tls, memory, stdout";
        assert!(text.contains("`carrier-pigeon`") && text.contains(known), "{text}");
        assert!(!text.contains("c4nary"), "{text}");
    }

    #[tokio::test]
    #[cfg(feature = "nats")]
    async fn a_wrong_url_is_not_repeated() {
        for url in ["nats://u:c4nary@h:x", "nats://u:c4nary@h?strem=ORDERS", "tls:c4nary"] {
            let text = error(url).await;
            assert!(!text.contains("c4nary"), "{text}");
        }
    }
}
