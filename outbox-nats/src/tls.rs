use std::path::Path;
use std::sync::Arc;

use async_nats::rustls::crypto::ring;
use async_nats::rustls::pki_types::pem::PemObject as _;
use async_nats::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use async_nats::rustls::{ClientConfig, RootCertStore};
use outbox_core::TlsConfig;

/// What verifies the server, and shows our own certificate.
///
/// Built here, and not by async-nats, which takes the provider of the whole process: a program whose other parts bring a
/// second one would panic when it connects.
///
/// # Errors
///
/// A text that names the file.
pub(crate) fn client_config(tls: &TlsConfig) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots(tls.ca.as_deref())?);
    let (Some(cert), Some(key)) = (&tls.cert, &tls.key) else {
        return Ok(builder.with_no_client_auth());
    };
    let certs = certificates("tls_cert", cert)?;
    let private = PrivateKeyDer::from_pem_file(key);
    let private = private.map_err(|error| unreadable("tls_key", key, &error))?;
    builder
        .with_client_auth_cert(certs, private)
        .map_err(|error| format!("tls_cert and tls_key don't fit together: {error}"))
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in certificates("tls_ca", path)? {
                roots.add(certificate).map_err(|error| unreadable("tls_ca", path, &error))?;
            }
        }
        // One that can't be read is no reason to distrust the others.
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    if roots.is_empty() {
        return Err("the system has no certificates to trust; name some by tls_ca".to_owned());
    }
    Ok(roots)
}

fn certificates(parameter: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| unreadable(parameter, path, &error))?;
    if found.is_empty() {
        return Err(format!("{parameter}: there is no certificate in {}", path.display()));
    }
    Ok(found)
}

fn unreadable(parameter: &str, path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{parameter}: {}: {error}", path.display())
}
