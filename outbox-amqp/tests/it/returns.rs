//! What came back is never taken for confirmed, and is nobody else's to read.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lapin::types::FieldTable;
use outbox_amqp::AmqpTransport;
use outbox_core::{OutboxMessage, PublishErrorKind, Transport};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::cases::{in_a_process, kinds, messages, next_frame, port_of, with_a_queue};
use crate::fixture::read_queue;

/// Passes everything on to the broker and back. While it is told to, each channel loses the confirmation of its first
/// message: the others come one by one.
async fn without_the_first_confirmation(broker: u16, loses: Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass_on(client, broker, loses.clone()));
        }
    });
    port
}

async fn pass_on(client: TcpStream, broker: u16, loses: Arc<AtomicBool>) -> std::io::Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, broker)).await?;
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let requests = tokio::io::copy(&mut from_client, &mut to_server);
    let answers = async {
        loop {
            let mut frame = next_frame(&mut from_server).await?;
            // A method of class 60: number 80 confirms, a message or all up to it.
            if loses.load(Ordering::SeqCst) && frame[0] == 1 && frame[7..11] == [0, 60, 0, 80] {
                if u64::from_be_bytes(frame[11..19].try_into().unwrap()) == 1 {
                    continue;
                }
                frame[19] = 0;
            }
            to_client.write_all(&frame).await?;
        }
    };
    tokio::select! {
        ended = requests => ended.map(drop),
        ended = answers => ended,
    }
}

/// The second confirmation takes the message of the first, which never comes; what came back as the second waits in the
/// client, where nobody sees it.
#[tokio::test]
async fn a_message_that_may_have_come_back_is_unknown() {
    with_a_queue(FieldTable::default(), async |url, name| {
        let port = port_of(&url);
        let loses = Arc::new(AtomicBool::new(false));
        let port = without_the_first_confirmation(port, loses.clone()).await;
        let url = format!("amqp://guest:guest@127.0.0.1:{port}/%2f?exchange={name}&publish_timeout=1s");
        let amqp = AmqpTransport::connect(&url).await.unwrap();
        loses.store(true, Ordering::SeqCst);
        let strays = amqp.publish(&[messages("nowhere", 1), messages("elsewhere", 1)].concat()).await;
        let known = [Some(PublishErrorKind::Retryable), Some(PublishErrorKind::Unknown)];
        assert_eq!(kinds(&strays), known, "{strays:?}");
        amqp.reset().await;
        loses.store(false, Ordering::SeqCst);
        amqp.check().await.unwrap();
        loses.store(true, Ordering::SeqCst);
        // Where nothing came back, what is confirmed is certain, whatever else is missing.
        let cut = amqp.publish(&messages("known.topic", 5)).await;
        let unknown = Some(PublishErrorKind::Unknown);
        assert_eq!(kinds(&cut)[0], unknown, "{cut:?}");
        assert!(kinds(&cut)[1..].iter().all(|kind| kind.is_none() || *kind == unknown), "{cut:?}");
        assert_eq!(kinds(&cut)[4], None, "{cut:?}");
    })
    .await;
}

/// A broker that does not even confirm the message by which it is asked is sent no other, and the connection is given up.
#[tokio::test]
async fn a_broker_that_does_not_answer_is_sent_nothing() {
    with_a_queue(FieldTable::default(), async |url, name| {
        let port = port_of(&url);
        let loses = Arc::new(AtomicBool::new(true));
        let port = without_the_first_confirmation(port, loses.clone()).await;
        let parameters = format!("exchange={name}&publish_timeout=1s");
        let url_of_proxy = format!("amqp://guest:guest@127.0.0.1:{port}/%2f?{parameters}");
        let amqp = AmqpTransport::new(url_of_proxy.parse().unwrap()).unwrap();
        let message = messages("known.topic", 1);
        let silent = amqp.publish(&message).await;
        assert_eq!(kinds(&silent), [Some(PublishErrorKind::Unavailable)], "{silent:?}");
        assert_eq!(read_queue(&url, &name).await.len(), 0);
        loses.store(false, Ordering::SeqCst);
        assert_eq!(kinds(&amqp.publish(&message).await), [None], "by another connection");
        assert_eq!(read_queue(&url, &name).await.len(), 1);
    })
    .await;
}

const URL: &str = "OUTBOX_TEST_LOGGED_URL";
const CANARY: &str = "c4nary-0f-the-mine";

/// The client logs each message that came back, with its payload.
#[tokio::test]
async fn what_came_back_is_not_logged() {
    with_a_queue(FieldTable::default(), async |url, name| {
        let url = format!("{url}?exchange={name}&unroutable=reject");
        let text = in_a_process("returns::with_a_log", &[(URL, &url)]).await;
        assert!(text.contains("this is the log"), "{text}");
        assert!(text.contains("Channel closed"), "everything else is there: {text}");
        let bytes = format!("{:?}", CANARY.as_bytes());
        for trace in [CANARY, bytes.trim_matches(['[', ']']), "returned us a message"] {
            assert!(!text.contains(trace), "{trace}: {text}");
        }
    })
    .await;
}

/// The other process of the case above.
#[tokio::test]
async fn with_a_log() {
    let Ok(url) = std::env::var(URL) else { return };
    tracing_subscriber::fmt().with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG).init();
    tracing::info!("this is the log");
    let amqp = AmqpTransport::connect(&url).await.unwrap();
    let message = OutboxMessage::bytes("nowhere", CANARY).unwrap().header("h", CANARY).build().unwrap();
    let results = amqp.publish(&[message.clone(), message]).await;
    assert_eq!(kinds(&results), [Some(PublishErrorKind::Rejected); 2], "{results:?}");
    // The client logs what else happens in the thread of the messages that come back.
    let missing = AmqpTransport::connect(&url.replace("exchange=", "exchange=missing_")).await.unwrap();
    missing.check().await.unwrap_err();
}
