//! A transport that is to encrypt verifies whom it talks to, and talks to nobody else.

use std::error::Error;
use std::sync::Arc;

use outbox_core::{PublishError, PublishErrorKind, Transport};

use super::TransportFixture;
use super::publishing::{all_confirmed, text};
use crate::offered;
use crate::tls::{Certificates, ServerName, TlsAddress, TlsPort, TlsProxy};

/// A server whose certificate is signed by the authority and is for its name is used.
pub async fn a_verified_server_is_used<F: TransportFixture>(fixture: Arc<F>) {
    let certificates = Certificates::new();
    let port = TlsPort::bind().await;
    let Some(backend) = offered("encryption", fixture.tls_backend(port.number()).await) else {
        return;
    };
    let proxy = port.encrypt(backend, &certificates, ServerName::Right, false);
    let (transport, topic) = over(&*fixture, &proxy, &certificates, false);
    transport.check().await.unwrap();
    all_confirmed(&transport.publish(&[text(&topic, "in secret")]).await, 1);
}

/// A certificate that nobody we trust has signed is refused, and said to be the reason.
pub async fn an_unknown_authority_is_refused<F: TransportFixture>(fixture: Arc<F>) {
    let certificates = Certificates::new();
    let port = TlsPort::bind().await;
    let Some(backend) = offered("encryption", fixture.tls_backend(port.number()).await) else {
        return;
    };
    let proxy = port.encrypt(backend, &certificates, ServerName::Right, false);
    let address =
        TlsAddress { host: "localhost", port: proxy.port(), ca: certificates.other_ca(), client: None };
    let (transport, topic) = fixture.over_tls(&address).unwrap();
    refused(&*transport, &topic, &["certificate", "issuer", "authority"]).await;
}

/// A certificate for another host is refused, and said to be the reason.
pub async fn another_host_is_refused<F: TransportFixture>(fixture: Arc<F>) {
    let certificates = Certificates::new();
    let port = TlsPort::bind().await;
    let Some(backend) = offered("encryption", fixture.tls_backend(port.number()).await) else {
        return;
    };
    let proxy = port.encrypt(backend, &certificates, ServerName::Wrong, false);
    let (transport, topic) = over(&*fixture, &proxy, &certificates, false);
    refused(&*transport, &topic, &["certificate", "name", "host"]).await;
}

/// A server that does not encrypt is refused, in time.
pub async fn plain_text_is_refused<F: TransportFixture>(fixture: Arc<F>) {
    let certificates = Certificates::new();
    let port = TlsPort::bind().await;
    let Some(backend) = offered("encryption", fixture.tls_backend(port.number()).await) else {
        return;
    };
    let proxy = port.pass_on(backend);
    let (transport, topic) = over(&*fixture, &proxy, &certificates, false);
    refused(&*transport, &topic, &["tls", "ssl", "encrypt", "certificate", "handshake"]).await;
}

/// A server that asks for the client's certificate gets it, and refuses those who have none.
pub async fn a_client_certificate_is_presented<F: TransportFixture>(fixture: Arc<F>) {
    let certificates = Certificates::new();
    let port = TlsPort::bind().await;
    let Some(backend) = offered("encryption", fixture.tls_backend(port.number()).await) else {
        return;
    };
    let proxy = port.encrypt(backend, &certificates, ServerName::Right, true);
    let (transport, topic) = over(&*fixture, &proxy, &certificates, true);
    all_confirmed(&transport.publish(&[text(&topic, "it is me")]).await, 1);
    let (nobody, topic) = over(&*fixture, &proxy, &certificates, false);
    refused(&*nobody, &topic, &[]).await;
}

fn over<F: TransportFixture>(
    fixture: &F,
    proxy: &TlsProxy,
    certificates: &Certificates,
    shows_client: bool,
) -> (Arc<dyn Transport>, String) {
    let client = shows_client.then(|| certificates.client());
    let address = TlsAddress { host: "localhost", port: proxy.port(), ca: certificates.ca(), client };
    fixture.over_tls(&address).unwrap()
}

/// Nothing is published, no attempt is used, and a text says why.
async fn refused(transport: &dyn Transport, topic: &str, hints: &[&str]) {
    let published = transport.publish(&[text(topic, "never")]).await.remove(0).unwrap_err();
    assert_eq!(published.kind(), PublishErrorKind::Unavailable, "{published}");
    let checked = transport.check().await.unwrap_err();
    assert_eq!(checked.kind(), PublishErrorKind::Unavailable, "{checked}");
    for error in [&published, &checked] {
        let text = everything(error);
        assert!(hints.is_empty() || hints.iter().any(|hint| text.contains(hint)), "{text}");
    }
}

fn everything(error: &PublishError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text += &format!(": {error}");
        next = error.source();
    }
    text.to_lowercase()
}
