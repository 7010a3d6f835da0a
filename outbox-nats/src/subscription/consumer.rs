use std::time::Duration;

use async_nats::jetstream::consumer::{self, AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::response::Response;
use async_nats::jetstream::{Context, ErrorCode};
use outbox_core::SubscribeError;

use super::NatsSubscriptionConfig;
use super::error::{Failure, subscribe_error};
use crate::stream::{Unasked, taken_by};

/// The consumer on the server by which a group reads a topic: one for each topic, because servers before 2.10 have one
/// subject per consumer, and so that a group can be given another topic without losing its place in the others.
#[derive(Debug, Clone)]
pub(crate) struct Feed {
    pub(crate) stream: String,
    pub(crate) consumer: String,
    /// After how long an unsettled delivery comes again.
    pub(crate) ack_wait: Duration,
    /// Messages in one pull at most.
    pub(crate) most: usize,
    /// How long a pull waits at most.
    pub(crate) expires: Duration,
}

/// How long a pull waits for messages.
const EXPIRES: Duration = Duration::from_secs(30);

/// Unsettled messages of a whole group and topic. Those that wait for their next try are among them, so this is far
/// above what the members work on at once: a few of them must not hold up all others.
const MAX_ACK_PENDING: i64 = 65_536;

/// `billing@orders=placed`: different for different groups and topics, of characters that a name may have.
pub(crate) fn consumer_name(group: &str, topic: &str) -> String {
    let mut name = String::with_capacity(group.len() + topic.len() + 1);
    for (part, text) in [group, topic].into_iter().enumerate() {
        if part == 1 {
            name.push('@');
        }
        for c in text.chars() {
            match c {
                '.' => name.push('='),
                c if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') => name.push(c),
                c => name.push_str(&format!("~{:02X}", u32::from(c))),
            }
        }
    }
    name
}

/// Finds the consumer of a topic and checks that it is fit; creates it if that was asked for.
pub(crate) async fn find(
    jetstream: &Context,
    config: &NatsSubscriptionConfig,
    topic: &str,
) -> Result<Feed, SubscribeError> {
    let stream = match &config.stream {
        Some(stream) => stream.clone(),
        None => match taken_by(jetstream, topic)
            .await
            .map_err(|error| subscribe_error(Failure::Unasked(error)))?
        {
            Some(stream) => stream,
            None => return Err(subscribe_error(Failure::NoStream { topic })),
        },
    };
    let name = consumer_name(&config.options.group, topic);
    let found = match info(jetstream, &stream, &name).await? {
        Some(found) => found,
        None if config.create => create(jetstream, config, &stream, &name, topic).await?,
        None => {
            let failure = Failure::NoConsumer { stream: &stream, consumer: &name, topic };
            return Err(subscribe_error(failure));
        }
    };
    if let Some(problem) = misfit(&found, config.options.redeliver_after, topic) {
        let failure = Failure::Misfit { stream: &stream, consumer: &name, problem };
        return Err(subscribe_error(failure));
    }
    let limit = |limit: i64| usize::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    let expires = if found.max_expires.is_zero() { EXPIRES } else { found.max_expires.min(EXPIRES) };
    Ok(Feed { ack_wait: found.ack_wait, most: limit(found.max_batch), expires, consumer: name, stream })
}

async fn info(
    jetstream: &Context,
    stream: &str,
    consumer: &str,
) -> Result<Option<consumer::Config>, SubscribeError> {
    // An empty object counts as no body, and `null` does not.
    let nothing = serde_json::json!({});
    let asked = jetstream.request(format!("CONSUMER.INFO.{stream}.{consumer}"), &nothing).await;
    match asked.map_err(|error| subscribe_error(Failure::Unasked(Unasked::Request(error))))? {
        Response::<consumer::Info>::Ok(info) => Ok(Some(info.config)),
        Response::Err { error } if error.error_code() == ErrorCode::CONSUMER_NOT_FOUND => Ok(None),
        Response::Err { error } => Err(subscribe_error(Failure::Consumer { error, stream, consumer })),
    }
}

async fn create(
    jetstream: &Context,
    config: &NatsSubscriptionConfig,
    stream: &str,
    name: &str,
    topic: &str,
) -> Result<consumer::Config, SubscribeError> {
    let wanted = pull::Config {
        durable_name: Some(name.to_owned()),
        description: Some(format!("outbox: group {} reads {topic}", config.options.group)),
        filter_subject: topic.to_owned(),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: config.options.redeliver_after,
        max_ack_pending: MAX_ACK_PENDING,
        max_deliver: -1,
        ..pull::Config::default()
    };
    let created = jetstream.create_consumer_on_stream(wanted, stream).await;
    match created {
        Ok(created) => Ok(created.cached_info().config.clone()),
        Err(error) => Err(subscribe_error(Failure::Create { error, stream, consumer: name, topic })),
    }
}

/// What about a consumer breaks the contract of a subscription. What only makes it slower or more careful does not.
fn misfit(found: &consumer::Config, redeliver_after: Duration, topic: &str) -> Option<String> {
    if found.deliver_subject.is_some() {
        return Some("deliver_subject is set: it pushes, and a subscription pulls".to_owned());
    }
    if found.ack_policy != AckPolicy::Explicit {
        return Some(
            "ack_policy must be explicit: anything else acknowledges what nobody has worked on".to_owned(),
        );
    }
    if found.filter_subject != topic {
        return Some(format!("filter_subject must be {topic:?}, and nothing else"));
    }
    if found.max_deliver > 0 {
        return Some("max_deliver must be -1: what was tried that often would be lost".to_owned());
    }
    if found.headers_only {
        return Some("headers_only is set: there would be no payload".to_owned());
    }
    if found.ack_wait < redeliver_after {
        return Some(format!(
            "ack_wait is {:?}, shorter than redeliver_after={redeliver_after:?}: what is being worked on would \
             come again",
            found.ack_wait
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_legal_and_different() {
        assert_eq!(consumer_name("billing", "orders.placed"), "billing@orders=placed");
        let names: std::collections::BTreeSet<_> = [
            ("a", "b.c"),
            ("a.b", "c"),
            ("a", "b=c"),
            ("a", "b~3Dc"),
            ("a", "b/c"),
            ("a", "b_c"),
            ("a", "b-c"),
            ("a", "b@c"),
            ("a-b", "c"),
        ]
        .into_iter()
        .map(|(group, topic)| consumer_name(group, topic))
        .collect();
        assert_eq!(names.len(), 9);
        assert!(names.iter().all(|name| !name.contains(['.', '/', '\\', '*', '>', ' '])));
    }

    #[test]
    fn what_breaks_the_contract_is_named() {
        let second = Duration::from_secs(1);
        let fit = consumer::Config {
            filter_subject: "t".to_owned(),
            ack_policy: AckPolicy::Explicit,
            ack_wait: 2 * second,
            max_deliver: -1,
            ..consumer::Config::default()
        };
        assert_eq!(misfit(&fit, second, "t"), None);
        let broken = |name: &str, change: fn(&mut consumer::Config)| {
            let mut config = fit.clone();
            change(&mut config);
            let problem = misfit(&config, second, "t").unwrap();
            assert!(problem.starts_with(name), "{problem}");
        };
        broken("deliver_subject", |config| config.deliver_subject = Some("x".to_owned()));
        broken("ack_policy", |config| config.ack_policy = AckPolicy::All);
        broken("filter_subject", |config| config.filter_subject = "t.>".to_owned());
        broken("max_deliver", |config| config.max_deliver = 5);
        broken("headers_only", |config| config.headers_only = true);
        broken("ack_wait", |config| config.ack_wait = Duration::from_millis(999));
    }
}
