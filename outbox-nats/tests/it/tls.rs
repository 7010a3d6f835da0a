//! A server that encrypts by itself: it says in plain text who it is, and encrypts then.

use outbox_conformance::servers::Server;
use outbox_conformance::started;
use outbox_conformance::tls::{Certificates, ServerName};
use outbox_core::{OutboxMessage, PublishErrorKind, Subscription, Transport};
use outbox_nats::{NatsConfig, NatsSubscription, NatsTransport};

async fn encrypting(certificates: &Certificates, more: &str) -> Option<Server> {
    let (cert, key) = certificates.server(ServerName::Right);
    let config = format!(
        "jetstream: {{ store_dir: \"$DIR\" }}\n tls: {{ cert_file: {cert:?}, key_file: {key:?}, {more} }}"
    );
    started("nats-server", Server::nats(Some(&config)).await)
}

fn url(server: &Server, certificates: &Certificates) -> String {
    format!(
        "tls://localhost:{}?tls_ca={}&stream=S&create=true&subjects=s.>",
        server.port(),
        certificates.ca().display()
    )
}

fn message() -> OutboxMessage {
    OutboxMessage::bytes("s.x", "in secret").unwrap().build().unwrap()
}

#[tokio::test]
async fn both_directions_are_encrypted_and_verified() {
    let certificates = Certificates::new();
    let Some(server) = encrypting(&certificates, "").await else { return };
    let transport = NatsTransport::connect(&url(&server, &certificates)).await.unwrap();
    transport.publish(&[message()]).await.remove(0).unwrap();
    assert!(transport.diagnose(&[]).await[0].detail.contains("encrypted"));
    let reader = format!(
        "tls://localhost:{}?tls_ca={}&group=g&topics=s.x&create=true",
        server.port(),
        certificates.ca().display()
    );
    let mut reader = NatsSubscription::connect(&reader).await.unwrap();
    reader.next().await.unwrap().ack().await.unwrap();
    let stranger = url(&server, &certificates).replace("/ca.pem", "/other-ca.pem");
    let stranger = NatsTransport::connect(&stranger).await.unwrap();
    let error = stranger.check().await.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::Unavailable);
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_a_server_that_asks() {
    let certificates = Certificates::new();
    let asks = format!("ca_file: {:?}, verify: true", certificates.ca());
    let Some(server) = encrypting(&certificates, &asks).await else { return };
    let config: NatsConfig = url(&server, &certificates).parse().unwrap();
    let nobody = NatsTransport::new(config.clone()).unwrap();
    assert_eq!(nobody.check().await.unwrap_err().kind(), PublishErrorKind::Unavailable);
    let (cert, key) = certificates.client();
    let known = NatsTransport::new(config.tls_cert(cert).tls_key(key)).unwrap();
    known.publish(&[message()]).await.remove(0).unwrap();
}

#[tokio::test]
async fn a_server_that_does_not_encrypt_is_refused_before_it_hears_a_password() {
    let certificates = Certificates::new();
    let Some(server) = started("nats-server", Server::nats(None).await) else { return };
    let url = url(&server, &certificates).replace("tls://", "tls://user:c4nary@");
    let transport = NatsTransport::connect(&url).await.unwrap();
    let error = transport.check().await.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::Unavailable);
    assert!(
        error.to_string().contains("the server does not encrypt, and tls=required was asked for"),
        "{error}"
    );
    assert!(!format!("{error:?}").contains("c4nary"));
    assert!(!std::fs::read_to_string(server.folder().join("log")).unwrap().contains("c4nary"));
}

#[tokio::test]
async fn a_file_that_is_no_certificate_is_an_error_of_the_construction() {
    for parameter in ["tls_ca=/gone.pem", "tls_cert=/gone.pem&tls_key=/gone.key"] {
        let error = NatsTransport::connect(&format!("tls://localhost:1?{parameter}")).await.unwrap_err();
        assert!(error.to_string().contains("/gone.pem"), "{error}");
    }
}
