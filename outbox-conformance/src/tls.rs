//! Encryption in front of any broker: a proxy that speaks TLS to the client and plain text to the server behind it, with
//! certificates of its own making.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// Where an encrypted server is, and what to trust and to show there. Paths are of PEM files.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the parts of an address")]
pub struct TlsAddress {
    /// Always `localhost`, which is what a good certificate is for.
    pub host: &'static str,
    pub port: u16,
    /// The certificates to trust.
    pub ca: PathBuf,
    /// The client's certificate and its key, if it is to show one.
    pub client: Option<(PathBuf, PathBuf)>,
}

impl TlsAddress {
    /// The parameters of a URL: `tls=required&tls_ca=…`.
    #[must_use]
    pub fn parameters(&self) -> String {
        let mut parameters = format!("tls=required&tls_ca={}", self.ca.display());
        if let Some((cert, key)) = &self.client {
            parameters += &format!("&tls_cert={}&tls_key={}", cert.display(), key.display());
        }
        parameters
    }
}

/// Whom the certificate of a server is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerName {
    /// `localhost`.
    Right,
    /// Some other host.
    Wrong,
}

impl ServerName {
    const fn file(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Wrong => "wrong",
        }
    }
}

/// An authority, what it has signed, and another authority that has signed nothing.
#[derive(Debug)]
pub struct Certificates {
    folder: TempDir,
}

impl Certificates {
    /// Makes everything anew.
    ///
    /// # Panics
    ///
    /// If the files can't be written.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let certificates = Self { folder };
        let authority = authority("outbox tests");
        certificates.write("ca.pem", &authority.pem());
        certificates.write("other-ca.pem", &self::authority("somebody else").pem());
        for (name, host) in [("right", "localhost"), ("wrong", "example.invalid"), ("client", "outbox")] {
            let key = KeyPair::generate().expect("a key can be made");
            let params = CertificateParams::new([host.to_owned()]).expect("the name is one");
            let signed = params.signed_by(&key, &authority).expect("it can be signed");
            certificates.write(&format!("{name}.pem"), &signed.pem());
            certificates.write(&format!("{name}.key"), &key.serialize_pem());
        }
        certificates
    }

    /// The authority that has signed everything here.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// An authority that has signed nothing here.
    #[must_use]
    pub fn other_ca(&self) -> PathBuf {
        self.path("other-ca.pem")
    }

    /// A client's certificate and its key.
    #[must_use]
    pub fn client(&self) -> (PathBuf, PathBuf) {
        (self.path("client.pem"), self.path("client.key"))
    }

    /// A server's certificate and its key, for a broker that encrypts by itself.
    #[must_use]
    pub fn server(&self, name: ServerName) -> (PathBuf, PathBuf) {
        let name = name.file();
        (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")))
    }

    fn acceptor(&self, name: ServerName, asks_for_client: bool) -> TlsAcceptor {
        let name = name.file();
        let certificate = |file: String| CertificateDer::from_pem_file(self.path(&file)).expect("it is PEM");
        let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).expect("it is PEM");
        let config = ServerConfig::builder();
        let config = if asks_for_client {
            let mut roots = RootCertStore::empty();
            roots.add(certificate("ca.pem".to_owned())).expect("it is an authority");
            config.with_client_cert_verifier(
                WebPkiClientVerifier::builder(Arc::new(roots)).build().expect("there is an authority"),
            )
        } else {
            config.with_no_client_auth()
        };
        let config = config.with_single_cert(vec![certificate(format!("{name}.pem"))], key);
        TlsAcceptor::from(Arc::new(config.expect("key and certificate fit")))
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("a temporary file can be written");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key can be made");
    CertifiedIssuer::self_signed(params, key).expect("it can sign itself")
}

/// A port that will encrypt: known before there is a server behind it.
#[derive(Debug)]
pub struct TlsPort {
    listener: TcpListener,
}

impl TlsPort {
    /// A free port.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub async fn bind() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port is free");
        Self { listener }
    }

    /// Its number.
    ///
    /// # Panics
    ///
    /// Never.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.listener.local_addr().expect("it is bound").port()
    }

    /// Encrypts from now on what goes to the server at `backend`.
    #[must_use]
    pub fn encrypt(
        self,
        backend: u16,
        certificates: &Certificates,
        name: ServerName,
        asks_for_client: bool,
    ) -> TlsProxy {
        let acceptor = certificates.acceptor(name, asks_for_client);
        self.serve(backend, Some(acceptor))
    }

    /// Passes everything on as it is.
    #[must_use]
    pub fn pass_on(self, backend: u16) -> TlsProxy {
        self.serve(backend, None)
    }

    fn serve(self, backend: u16, acceptor: Option<TlsAcceptor>) -> TlsProxy {
        let port = self.number();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = self.listener.accept().await {
                tokio::spawn(connect(client, backend, acceptor.clone()));
            }
        });
        TlsProxy { port, task: task.abort_handle() }
    }
}

async fn connect(mut client: TcpStream, backend: u16, acceptor: Option<TlsAcceptor>) -> std::io::Result<()> {
    match acceptor {
        Some(acceptor) => {
            let mut client = acceptor.accept(client).await?;
            let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, backend)).await?;
            copy_bidirectional(&mut client, &mut server).await?;
        }
        None => {
            let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, backend)).await?;
            copy_bidirectional(&mut client, &mut server).await?;
        }
    }
    Ok(())
}

/// A proxy that ends with this handle.
#[derive(Debug)]
pub struct TlsProxy {
    port: u16,
    task: AbortHandle,
}

impl TlsProxy {
    /// Where it listens, on `localhost`.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for TlsProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}
