use std::path::Path;
use std::sync::Arc;

use lapin::tcp::RustlsConnector;
use outbox_core::{BrokerConfigError, TlsConfig};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::endpoint::BROKER;

/// What encrypts connections, and verifies chain and host; `None` if they are not to be encrypted.
///
/// Built here, and not by the client, which would trust the certificates of the system beside those of `tls_ca`.
pub(crate) fn connector(config: &TlsConfig) -> Result<Option<RustlsConnector>, BrokerConfigError> {
    if !config.required {
        return Ok(None);
    }
    let mut roots = RootCertStore::empty();
    match &config.ca {
        Some(path) => {
            for certificate in certificates("tls_ca", path)? {
                roots.add(certificate).map_err(|error| refused(format!("tls_ca: {error}")))?;
            }
        }
        None => {
            // One unreadable certificate among those of the system is no reason to trust none of them.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() {
        return Err(refused("no certificate to trust was found".to_owned()));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(error.to_string()))?
        .with_root_certificates(roots);
    let config = match (&config.cert, &config.key) {
        (Some(cert), Some(key)) => {
            let chain = certificates("tls_cert", cert)?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| refused(format!("tls_key: {}: {error}", key.display())))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| refused(format!("tls_cert: {error}")))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(Some(RustlsConnector::from(config)))
}

fn certificates(parameter: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, BrokerConfigError> {
    let unreadable = |error| refused(format!("{parameter}: {}: {error}", path.display()));
    CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(unreadable)
}

fn refused(problem: String) -> BrokerConfigError {
    BrokerConfigError::Client { broker: BROKER, problem }
}
