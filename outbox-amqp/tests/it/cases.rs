//! What the cases have in common.

use std::time::Duration;

use lapin::types::FieldTable;
use outbox_conformance::servers::Server;
use outbox_conformance::started;
use outbox_core::{OutboxMessage, PublishError, PublishErrorKind};
use tokio::io::AsyncReadExt as _;
use tokio::net::tcp::OwnedReadHalf;
use tokio::process::Command;

use crate::fixture::{bind, client, delete, exchange, queue, shared_url, unique, url_of};

const LIMIT: Duration = Duration::from_secs(110);

pub(crate) fn messages(topic: &str, count: usize) -> Vec<OutboxMessage> {
    let message = |n| OutboxMessage::bytes(topic, format!("m{n}")).unwrap().build().unwrap();
    (0..count).map(message).collect()
}

pub(crate) fn kinds(results: &[Result<(), PublishError>]) -> Vec<Option<PublishErrorKind>> {
    results.iter().map(|result| result.as_ref().err().map(PublishError::kind)).collect()
}

/// Of a broker on this machine.
pub(crate) fn port_of(url: &str) -> u16 {
    let (_, authority) = url.rsplit_once('@').unwrap();
    authority.split(['/', ':']).nth(1).unwrap().parse().unwrap()
}

/// The next frame of AMQP: kind, channel and length; the payload; an end mark.
pub(crate) async fn next_frame(from: &mut OwnedReadHalf) -> std::io::Result<Vec<u8>> {
    let mut frame = vec![0; 7];
    from.read_exact(&mut frame).await?;
    let length = u32::from_be_bytes(frame[3..7].try_into().unwrap());
    frame.resize(7 + usize::try_from(length).unwrap() + 1, 0);
    from.read_exact(&mut frame[7..]).await?;
    Ok(frame)
}

/// An exchange and a queue of the same name on the shared broker.
pub(crate) async fn with_a_queue<Fut: Future<Output = ()>>(
    arguments: FieldTable,
    case: impl FnOnce(String, String) -> Fut,
) {
    let (url, name) = (shared_url(), unique());
    let Some((_connection, channel)) = started("RabbitMQ", client(&url).await) else { return };
    exchange(&channel, &name).await;
    queue(&channel, &name, arguments).await;
    bind(&channel, &name, &name, "known.#").await;
    let ended = tokio::time::timeout(LIMIT, case(url.clone(), name.clone())).await;
    delete(&url, &[&name], &[&name]).await;
    ended.expect("the case did not end in time");
}

/// A node of its own, for what would harm others, with lines of its configuration.
pub(crate) async fn on_a_node<Fut: Future<Output = ()>>(
    config: &str,
    case: impl FnOnce(Server, String) -> Fut,
) {
    if let Some(server) = started("a RabbitMQ of its own", Server::rabbitmq_with(config).await) {
        let url = url_of(&server);
        tokio::time::timeout(LIMIT, case(server, url)).await.expect("the case did not end in time");
    }
}

/// What an operator does to a node.
pub(crate) async fn ctl(server: &Server, arguments: &[&str]) {
    let mut command = Command::new("/usr/lib/rabbitmq/bin/rabbitmqctl");
    command.envs(server.environment().iter().map(|(name, value)| (name, value)));
    let done = command.args(arguments).output().await.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// Runs one test of this program in a process of its own, and gives what it has written; it must pass.
pub(crate) async fn in_a_process(test: &str, environment: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture"]).envs(environment.iter().copied());
    let done = command.output().await.unwrap();
    let text = [done.stdout, done.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(done.status.success() && text.contains("1 passed"), "{text}");
    text
}
