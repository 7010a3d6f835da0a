use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::header::{HeaderName, HeaderValue, NATS_MESSAGE_ID};
use async_nats::jetstream::AckKind;
use async_nats::{HeaderMap, Message, Request, RequestErrorKind};
use futures_util::future::join_all;
use outbox_core::{DEAD_GROUP_HEADER, DEAD_REASON_HEADER, DEAD_TOPIC_HEADER, SubscribeError, dead_reason};
use tokio::time::{Instant, timeout, timeout_at};

use super::NatsSubscriptionConfig;
use super::delivered::Delivered;
use super::error::{Failure, subscribe_error};
use super::inbound::Inbound;
use crate::codec::dead_id;
use crate::connection::Connection;
use crate::link::Link;

/// What a subscription and its receipts have in common.
pub(crate) struct Shared {
    pub(crate) config: NatsSubscriptionConfig,
    pub(crate) inbound: Arc<Inbound>,
    link: Link,
    closed: AtomicBool,
}

impl Shared {
    pub(crate) fn new(config: NatsSubscriptionConfig) -> Self {
        Self {
            inbound: Arc::new(Inbound::new(config.options.topics.len())),
            link: Link::new(config.endpoint.clone(), config.options.prefetch),
            closed: AtomicBool::new(false),
            config,
        }
    }

    pub(crate) fn is_open(&self) -> Result<(), SubscribeError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(subscribe_error(Failure::Closed));
        }
        Ok(())
    }

    /// `false` if it was closed before.
    pub(crate) fn close(&self) -> bool {
        !self.closed.swap(true, Ordering::AcqRel)
    }

    pub(crate) async fn connection(&self) -> Result<Arc<Connection>, SubscribeError> {
        self.is_open()?;
        self.any_connection().await
    }

    async fn any_connection(&self) -> Result<Arc<Connection>, SubscribeError> {
        let connection = self.link.connection().await;
        connection.map_err(|error| subscribe_error(Failure::Unreachable(error)))
    }

    /// Ends the connection if it was doubted, or in any case.
    pub(crate) async fn cut(&self, in_any_case: bool) {
        self.link.cut(in_any_case).await;
    }

    /// Says something about a delivery, and waits until the server has confirmed that it knows.
    pub(crate) async fn settle(&self, reply: &str, kind: AckKind) -> Result<(), SubscribeError> {
        let _settling = self.inbound.settling();
        let wait = self.config.endpoint.request_timeout;
        let connection = self.connection().await?;
        match confirmed(&connection, reply, kind, wait).await {
            // It was on its way when the connection broke. To say it twice does no harm.
            Err(_) if !connection.is_up() => {
                let connection = self.connection().await?;
                confirmed(&connection, reply, kind, wait).await
            }
            said => said,
        }
    }

    /// Writes a message to the dead letters, and returns when they have it.
    pub(crate) async fn bury(
        &self,
        message: &Message,
        reply: &str,
        reason: &str,
    ) -> Result<(), SubscribeError> {
        let _settling = self.inbound.settling();
        let options = &self.config.options;
        let headers = dead_headers(message, reply, &options.group, reason);
        let headers = headers.ok_or_else(|| subscribe_error(Failure::DeadLetterUnwritable))?;
        let connection = self.connection().await?;
        let subject = options.dead_letters.as_str();
        let failed = |error| subscribe_error(Failure::DeadLetter { error, subject });
        let publish = async {
            let payload = message.payload.clone();
            let sent = connection.jetstream.publish_with_headers(subject.to_owned(), headers, payload).await;
            sent.map_err(failed)?.await.map_err(failed)
        };
        match timeout(self.config.endpoint.request_timeout, publish).await {
            Ok(published) => published.map(drop),
            Err(_) => Err(subscribe_error(Failure::DeadLetterTimedOut)),
        }
    }

    /// Waits for the settlements that are under way, and hands everything else back.
    pub(crate) async fn hand_back(&self, deadline: Instant) -> Result<(), SubscribeError> {
        let quiet = timeout_at(deadline, self.inbound.quiet()).await.is_ok();
        let unsettled = self.inbound.take_all();
        let mut left = usize::from(!quiet);
        if !unsettled.is_empty() {
            let wait = self.config.endpoint.request_timeout;
            let all = async {
                let connection = self.any_connection().await?;
                let back = |reply| confirmed(&connection, reply, AckKind::Nak(None), wait);
                let results = join_all(unsettled.iter().map(|reply| back(reply))).await;
                Ok::<_, SubscribeError>(results.iter().filter(|result| result.is_err()).count())
            };
            left += match timeout_at(deadline, all).await {
                Ok(Ok(failed)) => failed,
                Ok(Err(_)) | Err(_) => unsettled.len(),
            };
        }
        self.cut(true).await;
        if left == 0 { Ok(()) } else { Err(subscribe_error(Failure::NotHandedBack(left))) }
    }
}

async fn confirmed(
    connection: &Connection,
    reply: &str,
    kind: AckKind,
    wait: Duration,
) -> Result<(), SubscribeError> {
    let request = Request::new().payload(kind.into()).timeout(Some(wait));
    match connection.client.send_request(reply.to_owned(), request).await {
        Ok(_) => Ok(()),
        Err(error) => Err(subscribe_error(match error.kind() {
            RequestErrorKind::NoResponders => Failure::Stale,
            _ => Failure::Unconfirmed(&error),
        })),
    }
}

/// The headers of the original, and why it is here. Not those that tell a stream what to do with the message
/// (`Nats-Rollup` would empty the dead letters, `Nats-Expected-…` would have them refused).
fn dead_headers(message: &Message, reply: &str, group: &str, reason: &str) -> Option<HeaderMap> {
    let none = HeaderMap::new();
    let original = message.headers.as_ref().unwrap_or(&none);
    let mut headers = HeaderMap::new();
    for (name, values) in original.iter() {
        let text: &str = name.as_ref();
        let commands = text.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("Nats-"));
        if !commands {
            for value in values {
                headers.append(name.clone(), value.clone());
            }
        }
    }
    let id = match original.get(NATS_MESSAGE_ID) {
        Some(id) => dead_id(id.as_str(), group),
        // It can only be named by its place.
        None => {
            let Delivered { stream, sequence, .. } = Delivered::parse(reply)?;
            dead_id(&format!("{stream}.{sequence}"), group)
        }
    };
    let mut put = |name: HeaderName, value: &str| {
        headers.insert(name, value.parse::<HeaderValue>().ok()?);
        Some(())
    };
    put(NATS_MESSAGE_ID, &id)?;
    put(HeaderName::from_static(DEAD_REASON_HEADER), &dead_reason(reason))?;
    put(HeaderName::from_static(DEAD_GROUP_HEADER), group)?;
    put(HeaderName::from_static(DEAD_TOPIC_HEADER), &message.subject)?;
    Some(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLY: &str = "$JS.ACK.S.g@t.3.100.7.1790230470084404000.42";

    fn message(headers: &[(&'static str, &str)]) -> Message {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, *value);
        }
        Message {
            subject: "t".into(),
            reply: None,
            payload: "x".into(),
            headers: Some(map),
            status: None,
            description: None,
            length: 0,
        }
    }

    #[test]
    fn a_dead_letter_keeps_its_headers_and_commands_nothing() {
        let original = message(&[
            ("Nats-Msg-Id", "7"),
            ("Nats-Rollup", "all"),
            ("nats-expected-stream", "S"),
            ("tenant", "acme"),
        ]);
        let headers = dead_headers(&original, REPLY, "g", "no such\r\ncustomer").unwrap();
        let get = |name: &str| headers.get(name).map(HeaderValue::as_str);
        assert_eq!(headers.len(), 5, "{headers:?}");
        assert_eq!((get("Nats-Msg-Id"), get("tenant")), (Some("7.g.dead"), Some("acme")));
        assert_eq!((get("outbox-dead-group"), get("outbox-dead-topic")), (Some("g"), Some("t")));
        assert_eq!(get("outbox-dead-reason"), Some("no such  customer"));
    }

    #[test]
    fn what_has_no_id_is_named_by_its_place() {
        let headers = dead_headers(&message(&[]), REPLY, "g", "x").unwrap();
        assert_eq!(headers.get("Nats-Msg-Id").unwrap().as_str(), "S.100.g.dead");
    }
}
