//! Encrypting the way to a server, and finding out to whom it leads.
//!
//! On purpose not here: client certificates.

use super::connection::Way;
use crate::error::PgError;
use crate::url::{Host, Roots, Server, TlsMode};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256, Sha384, Sha512};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// What servers from 17 on expect to be asked for.
const PROTOCOL: &[u8] = b"postgresql";
/// More certificates than this no file of authorities has.
const ROOTS_BYTES_MAX: u64 = 16 << 20;

/// Encrypts a connection.
pub(super) async fn protect(
    server: &Server,
    host: &Host,
    mode: TlsMode,
    stream: TcpStream,
) -> Result<Way, PgError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = verifier(server, mode, &provider).await?;
    let fail = |error: Error| PgError::Refused(format!("encryption to {host} cannot be set up: {error}"));
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(fail)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    let name = ServerName::try_from(host.name.clone());
    let name =
        name.map_err(|_| PgError::Refused(format!("{} is no name that a certificate can have", host.name)))?;
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let stream = connecting
        .map_err(|source| PgError::Io { what: format!("cannot encrypt the way to {host}"), source })?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let end_point = certificate.and_then(|certificate| end_point(certificate));
    Ok(Way { carrier: Box::new(stream), encrypted: true, end_point })
}

async fn verifier(
    server: &Server,
    mode: TlsMode,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, PgError> {
    if matches!(mode, TlsMode::Disable | TlsMode::Prefer | TlsMode::Require) {
        return Ok(Arc::new(Anybody(Arc::clone(provider))));
    }
    let wanted = server.roots.clone();
    let read = tokio::task::spawn_blocking(move || roots(&wanted)).await;
    let roots = read.map_err(|error| PgError::Refused(format!("cannot read certificates: {error}")))??;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
    let verifier = verifier
        .map_err(|error| PgError::Refused(format!("no authority can be asked about the server: {error}")))?;
    Ok(if mode == TlsMode::VerifyCa { Arc::new(AnyName(verifier)) } else { verifier })
}

fn roots(wanted: &Roots) -> Result<RootCertStore, PgError> {
    let mut store = RootCertStore::empty();
    match wanted {
        Roots::System => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Roots::File(path) => {
            let odd = |what: &dyn std::fmt::Display| {
                PgError::Refused(format!("cannot use sslrootcert {}: {what}", path.display()))
            };
            let length = std::fs::metadata(path).map_err(|error| odd(&error))?.len();
            if length > ROOTS_BYTES_MAX {
                return Err(odd(&"it is too large"));
            }
            let text = std::fs::read(path).map_err(|error| odd(&error))?;
            for certificate in CertificateDer::pem_slice_iter(&text) {
                let certificate = certificate.map_err(|error| odd(&error))?;
                store.add(certificate).map_err(|error| odd(&error))?;
            }
        }
    }
    Ok(store)
}

/// Believes anybody: what is encrypted to them is for those who wrote sslmode=require to know.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Believes whom an authority vouches for, whatever the name.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // The name is looked at last: whoever gets there is vouched for.
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// What a login is bound to (RFC 5929): the certificate's hash, by the hash of its signature, and
/// SHA-256 for the weak ones. `None` where the signature names no hash.
fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let algorithm = signature_algorithm(certificate)?;
    Some(match algorithm {
        // MD5 and SHA-1 with RSA, SHA-1 with ECDSA.
        b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04"
        | b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05"
        | b"\x2a\x86\x48\xce\x3d\x04\x01"
        // SHA-256 with RSA, with ECDSA.
        | b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b"
        | b"\x2a\x86\x48\xce\x3d\x04\x03\x02" => Sha256::digest(certificate).to_vec(),
        b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c" | b"\x2a\x86\x48\xce\x3d\x04\x03\x03" => {
            Sha384::digest(certificate).to_vec()
        }
        b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d" | b"\x2a\x86\x48\xce\x3d\x04\x03\x04" => {
            Sha512::digest(certificate).to_vec()
        }
        _ => return None,
    })
}

/// The object identifier of a certificate's signature: the first part of its second part.
fn signature_algorithm(certificate: &[u8]) -> Option<&[u8]> {
    let (inside, _) = part(certificate, 0x30)?;
    let (_, after) = part(inside, 0x30)?;
    let (algorithm, _) = part(after, 0x30)?;
    part(algorithm, 0x06).map(|(identifier, _)| identifier)
}

/// Takes a part of DER of a kind; what is in it and what follows.
fn part(bytes: &[u8], kind: u8) -> Option<(&[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 || rest.len() < count {
            return None;
        }
        let (digits, rest) = rest.split_at(count);
        (digits.iter().fold(0, |length, &digit| length << 8 | usize::from(digit)), rest)
    };
    (tag == kind && rest.len() >= length).then(|| rest.split_at(length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn der(kind: u8, inside: &[u8]) -> Vec<u8> {
        let length = u16::try_from(inside.len()).unwrap_or(u16::MAX).to_be_bytes();
        [&[kind, 0x82][..], &length, inside].concat()
    }

    #[test]
    fn a_certificate_is_hashed_as_it_is_signed() {
        let signed = |identifier: &[u8]| {
            let short = [&[0x06, identifier.len() as u8][..], identifier].concat();
            der(0x30, &[der(0x30, b"the rest"), der(0x30, &short), der(0x03, b"signature")].concat())
        };
        let sha256 = signed(b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b");
        assert_eq!(end_point(&sha256), Some(Sha256::digest(&sha256).to_vec()));
        let sha384 = signed(b"\x2a\x86\x48\xce\x3d\x04\x03\x03");
        assert_eq!(end_point(&sha384), Some(Sha384::digest(&sha384).to_vec()));
        let sha512 = signed(b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d");
        assert_eq!(end_point(&sha512), Some(Sha512::digest(&sha512).to_vec()));
        // Ed25519 names no hash.
        assert_eq!(end_point(&signed(b"\x2b\x65\x70")), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_hashed_or_not(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = end_point(&bytes);
        }
    }
}
