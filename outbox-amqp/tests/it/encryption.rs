//! Whom we trust.

use outbox_amqp::AmqpTransport;
use outbox_conformance::started;
use outbox_conformance::tls::{Certificates, ServerName, TlsPort};
use outbox_core::{PublishErrorKind, Transport};

use crate::cases::in_a_process;
use crate::fixture::{client, shared_url};

const PORT: &str = "OUTBOX_TEST_TLS_PORT";
const OTHER_CA: &str = "OUTBOX_TEST_TLS_OTHER_CA";

#[tokio::test]
async fn with_certificates_of_our_own_those_of_the_system_are_not_trusted() {
    let url = shared_url();
    let Some(_client) = started("RabbitMQ", client(&url).await) else { return };
    let broker: u16 = url.rsplit_once('@').unwrap().1.split(['/', ':']).nth(1).unwrap().parse().unwrap();
    let certificates = Certificates::new();
    let proxy = TlsPort::bind().await.encrypt(broker, &certificates, ServerName::Right, false);
    let (port, ca, other) = (proxy.port().to_string(), certificates.ca(), certificates.other_ca());
    // What the system trusts is read from there.
    let environment =
        [("SSL_CERT_FILE", ca.to_str().unwrap()), (PORT, &port), (OTHER_CA, other.to_str().unwrap())];
    in_a_process("encryption::where_the_system_trusts_the_server", &environment).await;
}

/// The other process of the case above.
#[tokio::test]
async fn where_the_system_trusts_the_server() {
    let (Ok(port), Ok(other)) = (std::env::var(PORT), std::env::var(OTHER_CA)) else { return };
    let url = format!("amqp://guest:guest@localhost:{port}/%2f?tls=required");
    AmqpTransport::connect(&url).await.unwrap().check().await.unwrap();
    let distrusts = AmqpTransport::connect(&format!("{url}&tls_ca={other}")).await.unwrap();
    let refused = distrusts.check().await.unwrap_err();
    assert_eq!(refused.kind(), PublishErrorKind::Unavailable, "{refused}");
    assert!(refused.to_string().to_lowercase().contains("certificate"), "{refused}");
}
