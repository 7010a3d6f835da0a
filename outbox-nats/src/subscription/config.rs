use std::str::FromStr;
use std::time::Duration;

use outbox_core::{BrokerConfigError, BrokerUrl, SubscribeOptions, Topic};

use super::consumer::consumer_name;
use crate::codec::is_reserved;
use crate::endpoint::{BROKER, Endpoint, SCHEMES, check_stream_name, endpoint_methods, invalid, positive};

/// Where the broker is, who we are, which group reads, and what.
///
/// Made from a URL (`"nats://localhost:4222?group=billing&topics=orders.placed&create=true".parse()`) and refined by its
/// methods; every parameter of the URL has a method of the same name. Its `Debug` output has no credentials.
#[derive(Debug, Clone)]
pub struct NatsSubscriptionConfig {
    pub(crate) endpoint: Endpoint,
    pub(crate) options: SubscribeOptions,
    pub(crate) stream: Option<String>,
    pub(crate) create: bool,
}

impl NatsSubscriptionConfig {
    const PARAMETERS: [&'static str; 3] = ["stream", "create", "request_timeout"];

    endpoint_methods!();

    /// Each group gets every message, and its members share them.
    #[must_use]
    pub fn group(mut self, name: impl Into<String>) -> Self {
        self.options.group = name.into();
        self
    }

    /// What to read; in the URL separated by commas.
    #[must_use]
    pub fn topics(mut self, topics: impl IntoIterator<Item = Topic>) -> Self {
        self.options.topics = topics.into_iter().collect();
        self
    }

    /// Unsettled deliveries of this member at most; 64 by default. The topics share them in equal parts, and each topic
    /// has at least one.
    #[must_use]
    pub fn prefetch(mut self, deliveries: usize) -> Self {
        self.options.prefetch = deliveries;
        self
    }

    /// After how long an unsettled delivery comes again; 30 seconds by default. It is the `ack_wait` of a consumer that
    /// is created; one that exists may have a longer one.
    #[must_use]
    pub fn redeliver_after(mut self, time: Duration) -> Self {
        self.options.redeliver_after = time;
        self
    }

    /// The subject that takes what the group gives up; `{group}.dead` by default. A stream must take it.
    #[must_use]
    pub fn dead_letters(mut self, subject: impl Into<String>) -> Self {
        self.options.dead_letters = subject.into();
        self
    }

    /// The stream that has the topics; by default it is the one that takes them.
    #[must_use]
    pub fn stream(mut self, name: impl Into<String>) -> Self {
        self.stream = Some(name.into());
        self
    }

    /// Creates the consumers of the group that are missing; they begin with the first message that the stream still has.
    /// Off by default, because a misspelt group would be a new one that reads everything again. A stream is never
    /// created.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// How long the broker may take to confirm a settlement or to answer a question; 5 seconds by default.
    #[must_use]
    pub fn request_timeout(mut self, time: Duration) -> Self {
        self.endpoint.request_timeout = time;
        self
    }

    pub(crate) fn checked(mut self) -> Result<Self, BrokerConfigError> {
        self.endpoint.check()?;
        positive("request_timeout", self.endpoint.request_timeout)?;
        self.options = self.options.checked(BROKER)?;
        self.stream.as_deref().map_or(Ok(()), check_stream_name)?;
        if is_reserved(&self.options.dead_letters) {
            invalid("dead_letters", "a subject that is not NATS' own")?;
        }
        let names =
            self.options.topics.iter().map(|topic| consumer_name(&self.options.group, topic.as_str()));
        if names.into_iter().any(|name| name.len() > 255) {
            invalid(
                "group",
                "so short that the name of a consumer, made of group and topic, has 255 bytes at most",
            )?;
        }
        Ok(self)
    }
}

/// `nats://user:password@host:4222,host2:4222?group=…&topics=…`, with `tls://` for TLS and `token@` for a token.
///
/// No error repeats any of the text that may hold a password.
impl FromStr for NatsSubscriptionConfig {
    type Err = BrokerConfigError;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let url = BrokerUrl::parse(BROKER, url, &SCHEMES)?;
        let (endpoint, options) = (Endpoint::new(&url)?, SubscribeOptions::new("", []));
        let mut config = Self { endpoint, options, stream: None, create: false };
        for parameter in url.parameters() {
            match parameter.name() {
                "stream" => config.stream = Some(parameter.text().to_owned()),
                "create" => config.create = parameter.flag()?,
                "request_timeout" => config.endpoint.request_timeout = parameter.duration()?,
                _ if config.options.set(&parameter)? || config.endpoint.set(&parameter)? => {}
                _ => {
                    let allowed =
                        [&SubscribeOptions::PARAMETERS[..], &Self::PARAMETERS, &Endpoint::PARAMETERS];
                    return Err(url.unknown(&parameter, &allowed.concat()));
                }
            }
        }
        config.checked()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_has_a_method() {
        let url = "tls://u:p@h?group=g&topics=a,b.c&prefetch=7&redeliver_after=9s&dead_letters=d&stream=S\
            &create=true&request_timeout=2s&name=n&connect_timeout=1s&tls_ca=/a&tls_cert=/b&tls_key=/c&tls_first=true";
        let parsed = url.parse::<NatsSubscriptionConfig>().unwrap();
        let topics = ["a", "b.c"].map(|topic| Topic::new(topic).unwrap());
        let seconds = Duration::from_secs;
        let built = "nats://h?group=x&topics=x".parse::<NatsSubscriptionConfig>().unwrap();
        let built = built.group("g").topics(topics).prefetch(7).redeliver_after(seconds(9)).dead_letters("d");
        let built = built.stream("S").create(true).request_timeout(seconds(2)).name("n").user("u", "p");
        let built = built.connect_timeout(seconds(1)).tls(true).tls_ca("/a").tls_cert("/b").tls_key("/c");
        assert_eq!(format!("{:?}", built.tls_first(true).checked().unwrap()), format!("{parsed:?}"));
        assert!(
            !format!("{:?}", url.replace(":p@", ":c4nary@").parse::<NatsSubscriptionConfig>())
                .contains("c4nary")
        );
    }

    #[test]
    fn what_cannot_work_is_refused_at_once() {
        let long = "t".repeat(200);
        for bad in [
            "nats://h?topics=a",
            "nats://h?group=g",
            "nats://h?group=g&topics=a&source=/x",
            "nats://h?group=g&topics=a&stream=a.b",
            "nats://h?group=g&topics=a&dead_letters=$JS.API.STREAM.PURGE.S",
            &format!("nats://h?group={}&topics={long}", "g".repeat(100)),
        ] {
            assert!(bad.parse::<NatsSubscriptionConfig>().is_err(), "{bad} was accepted");
        }
    }
}
