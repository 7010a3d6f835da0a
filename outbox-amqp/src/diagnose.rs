use outbox_core::{Finding, Topic};

use tokio::time::Instant;

use crate::connection::{Connection, Readiness};
use crate::link::{Link, NoConnection};
use crate::{AmqpConfig, topology};

pub(crate) async fn run(
    link: &Link,
    config: &AmqpConfig,
    topics: &[Topic],
    deadline: Instant,
) -> Vec<Finding> {
    let connection = match link.connection().await {
        Ok(connection) => connection,
        Err(NoConnection::Unreachable(text)) => return vec![unreachable(&text)],
        Err(NoConnection::Closed) => return vec![closed()],
    };
    let (vhost, addresses) = (&config.endpoint.vhost, config.endpoint.addresses());
    let mut findings =
        vec![Finding::ok("RabbitMQ", format!("reachable at {addresses}, virtual host {vhost:?}"))];
    // A broker that has one says so only when it is asked by a message.
    match connection.readiness(deadline).await {
        Ok(Readiness::Takes) => findings.push(Finding::ok("alarms", "none that blocks this connection")),
        Ok(Readiness::Blocked) => {
            let detail =
                "it takes no messages, and answers no more questions: an alarm of its memory or disk";
            let advice = "see `rabbitmq-diagnostics alarms`; give it memory or disk";
            findings.push(Finding::error("alarms", detail, advice));
            return findings;
        }
        Ok(Readiness::Silent) => return vec![silent(config)],
        Err(error) => return vec![unreachable(&format!("{addresses}: {error}"))],
    }
    if !config.exchange.is_empty() {
        findings.push(exchange(&connection, config).await);
        let detail =
            "whether a queue is bound for a topic can't be asked by AMQP; what no queue takes comes back";
        findings.extend(topics.iter().map(|topic| Finding::ok(format!("topic {topic}"), detail)));
        return findings;
    }
    for topic in topics {
        findings.push(queue(&connection, config, topic).await);
    }
    findings
}

pub(crate) fn unreachable(text: &str) -> Finding {
    Finding::error("RabbitMQ", format!("it can't be reached at {text}"), "start it, or correct its URL")
}

fn closed() -> Finding {
    Finding::error("RabbitMQ", "the transport is closed", "ask before it is closed")
}

pub(crate) fn silent(config: &AmqpConfig) -> Finding {
    unreachable(&format!("{}: it does not answer", config.endpoint.addresses()))
}

/// Each question on a channel of its own: a no closes it.
async fn exchange(connection: &Connection, config: &AmqpConfig) -> Finding {
    let name = &config.exchange;
    let subject = format!("exchange {name}");
    let asked = async {
        let channel = connection.client().create_channel().await?;
        topology::exchange(&channel, name, false).await
    };
    match asked.await {
        Ok(()) => Finding::ok(subject, "it exists"),
        Err(error) if topology::is_missing(&error) && config.create => {
            Finding::warning(subject, "it does not exist yet", "nothing: create=true declares it")
        }
        Err(error) if topology::is_missing(&error) => {
            Finding::error(subject, "it does not exist", "declare it, or let create=true do so")
        }
        Err(error) => Finding::error(subject, error.to_string(), "grant this user the exchange"),
    }
}

async fn queue(connection: &Connection, config: &AmqpConfig, topic: &Topic) -> Finding {
    let subject = format!("topic {topic}");
    let asked = async {
        let channel = connection.client().create_channel().await?;
        topology::find_queue(&channel, topic.as_str()).await
    };
    match asked.await {
        Ok(queue) => {
            let (messages, consumers) = (queue.message_count(), queue.consumer_count());
            let detail =
                format!("the queue {topic:?} exists, with {messages} messages and {consumers} consumers");
            Finding::ok(subject, detail)
        }
        Err(error) if topology::is_missing(&error) && config.create => Finding::warning(
            subject,
            "there is no queue of this name yet",
            "nothing: create=true declares it",
        ),
        Err(error) if topology::is_missing(&error) => Finding::error(
            subject,
            "there is no queue of this name",
            "declare it, let create=true do so, or name the exchange that it is bound to",
        ),
        Err(error) => Finding::error(subject, error.to_string(), "grant this user the queue"),
    }
}
