use std::collections::HashMap;

use futures_util::FutureExt as _;
use lapin::message::BasicReturnMessage;
use lapin::options::BasicPublishOptions;
use lapin::types::ShortString;
use lapin::{Channel, Confirmation, PublisherConfirm};
use outbox_core::PublishError;
use tokio::time::{Instant, timeout_at};

use crate::AmqpConfig;
use crate::codec::Record;
use crate::error::{Failure, publish_error};

/// Every message must reach a queue, or come back.
const MANDATORY: BasicPublishOptions = BasicPublishOptions { mandatory: true, immediate: false };

/// What became of the messages of a window, in their order.
pub(crate) struct Outcome {
    pub(crate) results: Vec<Result<(), PublishError>>,
    /// All is known, so that the channel can be used again.
    pub(crate) certain: bool,
    /// Why the broker has closed the channel, if it has.
    pub(crate) closed: Option<lapin::Error>,
    /// Of the messages that came back.
    pub(crate) stray_topics: Vec<ShortString>,
}

/// What is known of one message.
enum Answer {
    /// The client does not have it.
    NotSent,
    Awaited(PublisherConfirm),
    /// The deadline came while the client wrote it.
    Late,
    /// Confirmed; whether it carried a message that came back, its own or another one.
    Taken {
        carried: bool,
    },
    Refused,
    /// The channel does not confirm at all.
    NotConfirmed,
    Lost(lapin::Error),
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
    let mut names = Vec::with_capacity(records.len());
    let mut answers: Vec<Answer> = Vec::with_capacity(records.len());
    for record in records {
        names.push((record.id.clone(), record.routing_key.clone()));
        answers.push(match answers.last() {
            // Even a call that is given no time would leave it in the client.
            Some(Answer::Late | Answer::NotSent) => Answer::NotSent,
            _ => send(channel, record, config, deadline).await,
        });
    }
    let mut returned = Vec::new();
    for answer in &mut answers {
        if let Answer::Awaited(confirm) = answer {
            match timeout_at(deadline, confirm).await {
                Ok(Ok(confirmation)) => *answer = read(confirmation, &mut returned),
                Ok(Err(error)) => *answer = Answer::Lost(error),
                Err(_) => {}
            }
        }
    }
    give_up(channel, &mut answers, &mut returned);
    settle(names, answers, by_id(returned), config)
}

async fn send(channel: &Channel, record: Record, config: &AmqpConfig, deadline: Instant) -> Answer {
    let Record { routing_key, properties, payload, .. } = record;
    let exchange = config.exchange.as_str().into();
    #[cfg(outbox_sabotage)]
    let options = BasicPublishOptions { mandatory: !outbox_core::sabotage::is("no-mandatory"), ..MANDATORY };
    #[cfg(not(outbox_sabotage))]
    let options = MANDATORY;
    let publishing = channel.basic_publish(exchange, routing_key, options, &payload, properties);
    match timeout_at(deadline, publishing).await {
        Ok(Ok(confirm)) => Answer::Awaited(confirm),
        Ok(Err(error)) => Answer::Lost(error),
        Err(_) => Answer::Late,
    }
}

fn read(confirmation: Confirmation, returned: &mut Vec<BasicReturnMessage>) -> Answer {
    match confirmation {
        Confirmation::Ack(message) => {
            let carried = message.is_some();
            returned.extend(message);
            Answer::Taken { carried }
        }
        Confirmation::Nack(message) => {
            returned.extend(message);
            Answer::Refused
        }
        Confirmation::NotRequested => Answer::NotConfirmed,
    }
}

/// Looks once more at those that have not come in time, for the messages that they carry.
fn give_up(channel: &Channel, answers: &mut [Answer], returned: &mut Vec<BasicReturnMessage>) {
    for answer in answers {
        if matches!(answer, Answer::Awaited(_)) {
            // The channel keeps what a confirmation carries that nobody awaits.
            *answer = Answer::Late;
        }
    }
    // The first call takes the mark of the last confirmation, and may have to wait for it; the second never does.
    for _ in 0..2 {
        if let Some(Ok(messages)) = channel.wait_for_confirms().now_or_never() {
            returned.extend(messages);
        }
    }
}

/// `replies` of the messages that came back, by their id.
///
/// When some confirmations are missing, more may have come back than was seen. Those that come back stand in a queue of
/// the client, and each confirmation takes the first of it. One that took nothing found nothing: its own message did not
/// come back, or an earlier confirmation has it and was looked at. One that took another message may have left its own.
fn settle(
    names: Vec<(ShortString, ShortString)>,
    answers: Vec<Answer>,
    replies: HashMap<ShortString, String>,
    config: &AmqpConfig,
) -> Outcome {
    let certain = answers.iter().all(|answer| matches!(answer, Answer::Taken { .. } | Answer::Refused));
    let closed = answers.iter().find_map(|answer| match answer {
        Answer::Lost(error) if error.is_amqp_soft_error() => Some(error.clone()),
        _ => None,
    });
    let (mut results, mut stray_topics) = (Vec::with_capacity(answers.len()), Vec::new());
    for ((id, topic), answer) in names.into_iter().zip(answers) {
        #[cfg(outbox_sabotage)]
        if outbox_core::sabotage::is("trust-each-ack") {
            results.push(match answer {
                Answer::Taken { carried: true } => Err(publish_error(Failure::Returned {
                    topic: topic.as_str(),
                    exchange: config.exchange.as_str(),
                    reply: "carried by its confirmation",
                    reject: config.rejects_strays(),
                })),
                answer => judge(&answer, true),
            });
            continue;
        }
        results.push(match replies.get(&id) {
            // Also without its confirmation, which would only repeat it.
            Some(reply) if !matches!(answer, Answer::Refused) => {
                let (exchange, reject) = (config.exchange.as_str(), config.rejects_strays());
                let failure = Failure::Returned { topic: topic.as_str(), exchange, reply, reject };
                let error = publish_error(failure);
                stray_topics.push(topic);
                Err(error)
            }
            _ => judge(&answer, certain),
        });
    }
    Outcome { results, certain, closed, stray_topics }
}

/// What became of a message that is not known to have come back, with all confirmations or with some.
fn judge(answer: &Answer, all: bool) -> Result<(), PublishError> {
    Err(publish_error(match answer {
        Answer::Taken { carried } if all || !carried => return Ok(()),
        Answer::Taken { .. } => Failure::PerhapsReturned,
        Answer::Refused => Failure::Nack,
        Answer::NotConfirmed => Failure::NotConfirming,
        Answer::NotSent => Failure::NotSent,
        Answer::Awaited(_) | Answer::Late => Failure::NoAnswer,
        Answer::Lost(error) => Failure::Lost(error),
    }))
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
    fn only_a_confirmation_that_can_be_told_apart_is_a_success() {
        let kind = |answer, all| judge(&answer, all).err().map(|error| error.kind());
        let mut returned = Vec::new();
        assert_eq!(kind(read(Confirmation::Ack(None), &mut returned), false), None);
        assert_eq!(kind(Answer::Taken { carried: true }, true), None);
        for (answer, expected) in [
            (Answer::Taken { carried: true }, PublishErrorKind::Unknown),
            (read(Confirmation::Nack(None), &mut returned), PublishErrorKind::Retryable),
            (read(Confirmation::NotRequested, &mut returned), PublishErrorKind::Unknown),
            (Answer::NotSent, PublishErrorKind::Unavailable),
            (Answer::Late, PublishErrorKind::Unknown),
        ] {
            assert_eq!(kind(answer, false), Some(expected));
        }
    }
}
