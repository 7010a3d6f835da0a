use std::collections::HashMap;

use lapin::message::BasicReturnMessage;
use lapin::options::BasicPublishOptions;
use lapin::types::ShortString;
use lapin::{Channel, Confirmation};
use outbox_core::PublishError;
use tokio::time::{Instant, timeout_at};

use crate::codec::Record;
use crate::error::{Failure, publish_error};
use crate::{AmqpConfig, Unroutable};

/// Every message must reach a queue, or come back.
const MANDATORY: BasicPublishOptions = BasicPublishOptions { mandatory: true, immediate: false };

/// What became of the messages of a window, in their order, and whether all is known, so that the channel can be used
/// again.
pub(crate) struct Outcome {
    pub(crate) results: Vec<Result<(), PublishError>>,
    pub(crate) certain: bool,
}

/// Publishes a window on a channel that nobody else uses meanwhile, and waits until all of it is confirmed.
///
/// The client attaches a returned message to whichever confirmation it handles next, not to the one of that message. But
/// the broker returns a message before it confirms it, so when all confirmations are in, all returned messages are, and
/// each has its id.
pub(crate) async fn publish(
    channel: &Channel,
    records: Vec<Record>,
    config: &AmqpConfig,
    deadline: Instant,
) -> Outcome {
    let mut sent = Vec::with_capacity(records.len());
    let mut names = Vec::with_capacity(records.len());
    for record in records {
        let Record { id, routing_key, properties, payload } = record;
        names.push((id, routing_key.clone()));
        let publishing = channel.basic_publish(
            config.exchange.as_str().into(),
            routing_key,
            MANDATORY,
            &payload,
            properties,
        );
        sent.push(match timeout_at(deadline, publishing).await {
            Ok(Ok(confirm)) => Ok(confirm),
            Ok(Err(error)) => Err(publish_error(Failure::Lost(&error))),
            Err(_) => Err(publish_error(Failure::NoAnswer)),
        });
    }
    let (mut returned, mut certain) = (Vec::new(), true);
    let mut results = Vec::with_capacity(sent.len());
    for confirm in sent {
        let result = match confirm {
            Ok(confirm) => match timeout_at(deadline, confirm).await {
                Ok(Ok(confirmation)) => judge(confirmation, &mut returned),
                Ok(Err(error)) => Err(Verdict::Unknown(publish_error(Failure::Lost(&error)))),
                Err(_) => Err(Verdict::Unknown(publish_error(Failure::NoAnswer))),
            },
            Err(error) => Err(Verdict::Unknown(error)),
        };
        results.push(match result {
            Ok(()) => Ok(()),
            Err(Verdict::Refused(error)) => Err(error),
            Err(Verdict::Unknown(error)) => {
                certain = false;
                Err(error)
            }
        });
    }
    if certain {
        // Those that no confirmation was left for.
        match timeout_at(deadline, channel.wait_for_confirms()).await {
            Ok(Ok(rest)) => returned.extend(rest),
            _ => return unknown(names.len()),
        }
    }
    if !returned.is_empty() {
        let replies = by_id(returned);
        for ((id, topic), result) in names.iter().zip(&mut results) {
            if let Some(reply) = replies.get(id)
                && result.is_ok()
            {
                let reject = config.unroutable == Unroutable::Reject;
                let (topic, exchange) = (topic.as_str(), config.exchange.as_str());
                *result = Err(publish_error(Failure::Returned { topic, exchange, reply, reject }));
            }
        }
    }
    Outcome { results, certain }
}

enum Verdict {
    Refused(PublishError),
    Unknown(PublishError),
}

fn judge(confirmation: Confirmation, returned: &mut Vec<BasicReturnMessage>) -> Result<(), Verdict> {
    match confirmation {
        Confirmation::Ack(message) => {
            returned.extend(message);
            Ok(())
        }
        Confirmation::Nack(message) => {
            returned.extend(message);
            Err(Verdict::Refused(publish_error(Failure::Nack)))
        }
        // Success for nobody who wants to know.
        Confirmation::NotRequested => Err(Verdict::Unknown(publish_error(Failure::NotConfirming))),
    }
}

/// Nobody knows which of them came back.
fn unknown(count: usize) -> Outcome {
    let results = (0..count).map(|_| Err(publish_error(Failure::NoAnswer))).collect();
    Outcome { results, certain: false }
}

fn by_id(returned: Vec<BasicReturnMessage>) -> HashMap<ShortString, String> {
    let reply = |message: BasicReturnMessage| {
        let id = message.delivery.properties.message_id().clone()?;
        Some((id, format!("{} {}", message.reply_code, message.reply_text)))
    };
    returned.into_iter().filter_map(reply).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use outbox_core::PublishErrorKind;

    #[test]
    fn a_channel_that_does_not_confirm_is_never_a_success() {
        let mut returned = Vec::new();
        assert!(judge(Confirmation::Ack(None), &mut returned).is_ok());
        let Err(Verdict::Unknown(error)) = judge(Confirmation::NotRequested, &mut returned) else {
            panic!("it counts as confirmed");
        };
        assert_eq!(error.kind(), PublishErrorKind::Unknown);
        let Err(Verdict::Refused(error)) = judge(Confirmation::Nack(None), &mut returned) else {
            panic!("it counts as confirmed");
        };
        assert_eq!(error.kind(), PublishErrorKind::Retryable);
    }
}
