//! Nothing leaves this process after a transport was closed.

use std::net::Ipv4Addr;
use std::time::Duration;

use lapin::types::FieldTable;
use outbox_amqp::AmqpTransport;
use outbox_core::{OutboxMessage, PublishErrorKind, Transport};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::cases::{kinds, messages, next_frame, on_a_node};
use crate::fixture::{client, queue, read_queue, url_of};

/// What has passed.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    connections: usize,
    /// The broker has closed a channel.
    closed: bool,
}

/// Passes everything on to the broker and back. The first connection gets no answers any more when the broker has closed
/// a channel of it.
async fn silent_after_a_refusal(broker: u16) -> (u16, watch::Receiver<Seen>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (seen, seeing) = watch::channel(Seen::default());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            seen.send_modify(|seen| seen.connections += 1);
            let first = seen.borrow().connections == 1;
            tokio::spawn(pass_on(client, broker, first.then(|| seen.clone())));
        }
    });
    (port, seeing)
}

async fn pass_on(client: TcpStream, broker: u16, first: Option<watch::Sender<Seen>>) -> std::io::Result<()> {
    use tokio::io::AsyncWriteExt as _;

    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, broker)).await?;
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let requests = tokio::io::copy(&mut from_client, &mut to_server);
    let answers = async {
        loop {
            let frame = next_frame(&mut from_server).await?;
            to_client.write_all(&frame).await?;
            // A method of class 20: number 40 closes the channel.
            if let Some(seen) = &first
                && frame[0] == 1
                && frame[7..11] == [0, 20, 0, 40]
            {
                seen.send_modify(|seen| seen.closed = true);
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        ended = requests => ended.map(drop),
        ended = answers => ended,
    }
}

/// What has no answer when the broker has refused another message is published again, but not after the end.
#[tokio::test]
async fn what_is_to_be_published_again_is_not_after_close() {
    on_a_node("max_message_size = 65536\n", async |server, url| {
        let (_connection, channel) = client(&url).await.unwrap();
        queue(&channel, "t", FieldTable::default()).await;
        let (port, mut seen) = silent_after_a_refusal(server.port()).await;
        let url_of_proxy = url_of(&server).replace(&server.port().to_string(), &port.to_string());
        let amqp = AmqpTransport::connect(&format!("{url_of_proxy}?publish_timeout=30s")).await.unwrap();
        let mut window = messages("t", 10);
        window.insert(3, OutboxMessage::bytes("t", vec![0; 100_000]).unwrap().build().unwrap());
        let closing = async {
            seen.wait_for(|seen| seen.closed).await.unwrap();
            amqp.close(Duration::from_millis(50)).await
        };
        let (results, closed) = tokio::join!(amqp.publish(&window), closing);
        assert_eq!(closed.unwrap_err().kind(), PublishErrorKind::Unknown);
        assert!(kinds(&results)[3..].iter().all(Option::is_some), "{results:?}");
        assert_eq!(seen.borrow().connections, 1, "another one was opened");
        let stored = read_queue(&url, "t").await.len();
        assert!(stored <= 3, "{stored} arrived, and 3 were sent before the refusal");
    })
    .await;
}

/// A call that connects while the transport is closed does not have to be waited for, and opens nothing.
#[tokio::test]
async fn closing_does_not_wait_for_a_host_that_is_silent() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("amqp://127.0.0.1:{port}/%2f?publish_timeout=60s&connect_timeout=60s");
    let amqp = AmqpTransport::new(url.parse().unwrap()).unwrap();
    let batch = messages("t", 1);
    let closing = async {
        let accepted = listener.accept().await.unwrap();
        drop(amqp.close(Duration::from_millis(50)).await);
        accepted
    };
    let both = async { tokio::join!(amqp.publish(&batch), closing) };
    let (results, _) = tokio::time::timeout(Duration::from_secs(20), both).await.expect("it waits");
    assert_eq!(kinds(&results), [Some(PublishErrorKind::Unavailable)], "{results:?}");
    assert!(results[0].as_ref().unwrap_err().to_string().contains("closed"), "{results:?}");
}
