use std::time::Duration;

use outbox_core::TransportCapabilities;

/// How a publisher works. The defaults suit production.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublisherConfig {
    /// A call of [`outbox_core::Transport::publish`] that takes longer has an unknown outcome. Callers wait that long if
    /// the broker stops answering, until the circuit breaker opens. Default 10 s.
    pub publish_timeout: Duration,
    /// The first pause of the circuit breaker; it doubles up to `breaker_longest`. Default 250 ms.
    pub breaker_first: Duration,
    /// The longest pause of the circuit breaker: how late it is noticed that the broker is back. Default 3 s.
    pub breaker_longest: Duration,
    /// How long a message may wait until the relay has delivered the earlier ones of its key, before it is stored behind
    /// them. Only when the broker is back and the outbox is nearly empty. Default 250 ms.
    pub handover_wait: Duration,
    /// The pause between two looks at an outbox that is not nearly empty yet. Default 250 ms.
    pub handover_interval: Duration,
}

impl Default for PublisherConfig {
    fn default() -> Self {
        Self {
            publish_timeout: Duration::from_secs(10),
            breaker_first: Duration::from_millis(250),
            breaker_longest: Duration::from_secs(3),
            handover_wait: Duration::from_millis(250),
            handover_interval: Duration::from_millis(250),
        }
    }
}

/// A configuration that can't work. Names the field, its value and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("publisher configuration: {field} is {value:?}, {expected}")]
pub struct PublisherConfigError {
    /// The field.
    pub field: &'static str,
    /// Its value.
    pub value: Duration,
    /// What is allowed, and why.
    pub expected: String,
}

impl PublisherConfig {
    pub(super) fn validate<'a>(
        &self,
        transports: impl IntoIterator<Item = &'a TransportCapabilities>,
    ) -> Result<(), PublisherConfigError> {
        let fields = [
            ("publish_timeout", self.publish_timeout),
            ("breaker_first", self.breaker_first),
            ("breaker_longest", self.breaker_longest),
            ("handover_wait", self.handover_wait),
            ("handover_interval", self.handover_interval),
        ];
        if let Some((field, value)) = fields.into_iter().find(|(_, value)| value.is_zero()) {
            return Err(PublisherConfigError {
                field,
                value,
                expected: "it must be longer than that".to_owned(),
            });
        }
        let slow = transports.into_iter().find(|transport| transport.max_send_time >= self.publish_timeout);
        if let Some(TransportCapabilities { name, max_send_time, .. }) = slow {
            // The client would still be sending what was given up here.
            let expected =
                format!("it must be longer than the longest send of the {name} client ({max_send_time:?})");
            return Err(PublisherConfigError {
                field: "publish_timeout",
                value: self.publish_timeout,
                expected,
            });
        }
        Ok(())
    }
}
