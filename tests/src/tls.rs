//! TLS before a server on loopback, with a certificate that an authority of its own vouches for.
//!
//! On purpose not here: what is said inside.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A server with TLS that runs until this is dropped.
#[derive(Debug)]
pub struct Tls {
    port: u16,
    authority: String,
    runtime: Option<Runtime>,
}

impl Tls {
    /// Starts one before a server, stated by its URL; its certificate is for 127.0.0.1 alone.
    ///
    /// # Panics
    /// There is no free port.
    #[must_use]
    pub fn start(server: &str) -> Self {
        let (acceptor, authority) = acceptor();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (listener, port) = listen();
        let server = server.trim_start_matches("http://").to_owned();
        runtime.spawn(accept(listener, acceptor, server));
        Self { port, authority, runtime: Some(runtime) }
    }

    /// URL of the server.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The certificate of the authority, in PEM.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A certificate, its key, and that of the authority that vouches for it, in PEM.
pub(crate) struct Certified {
    pub(crate) authority: String,
    pub(crate) certificate: String,
    pub(crate) key: KeyPair,
}

/// Makes an authority, and a certificate of it for a name or an address alone.
pub(crate) fn certified(name: &str) -> Certified {
    let mut parameters = CertificateParams::new(Vec::new()).expect("no names");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let authority = CertifiedIssuer::self_signed(parameters, key).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let parameters = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let certificate = parameters.signed_by(&key, &authority).expect("a certificate");
    Certified { authority: authority.pem(), certificate: certificate.pem(), key }
}

/// Accepts with a certificate for 127.0.0.1 alone; and the certificate of its authority, in PEM.
pub(crate) fn acceptor() -> (TlsAcceptor, String) {
    let Certified { authority, certificate, key } = certified("127.0.0.1");
    let secret = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate");
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], secret)
        .expect("a certificate and its key");
    (TlsAcceptor::from(Arc::new(config)), authority)
}

/// Listens on a port that is free, also for who is asked for it inside of a runtime.
pub(crate) fn listen() -> (std::net::TcpListener, u16) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket");
    let port = listener.local_addr().expect("an address").port();
    (listener, port)
}

async fn accept(listener: std::net::TcpListener, acceptor: TlsAcceptor, server: String) {
    let listener = TcpListener::from_std(listener).expect("a socket");
    while let Ok((client, _)) = listener.accept().await {
        let (acceptor, server) = (acceptor.clone(), server.clone());
        tokio::spawn(async move {
            // Whoever does not trust it goes away.
            let Ok(mut client) = acceptor.accept(client).await else { return };
            let Ok(mut there) = TcpStream::connect(&server).await else { return };
            let _ = tokio::io::copy_bidirectional(&mut client, &mut there).await;
        });
    }
}
