//! Certificates and keys, checked before they go into a Secret.

use std::fmt;

use gitops_core::secret::SecretString;
use gitops_core::{Error, Result};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// Certificates in PEM.
#[derive(Clone, Default)]
pub struct Certificates {
    /// A client's certificate, with what it was signed by if need be, and its key.
    pub pair: Option<(String, SecretString)>,
    /// The authority that the server's certificate is checked against.
    pub ca: Option<String>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates")
            .field("pair", &self.pair.is_some())
            .field("ca", &self.ca.is_some())
            .finish()
    }
}

impl Certificates {
    /// A client's certificate and its key.
    #[must_use]
    pub fn pair(mut self, certificate: impl Into<String>, key: impl Into<SecretString>) -> Self {
        self.pair = Some((certificate.into(), key.into()));
        self
    }

    /// An authority.
    #[must_use]
    pub fn ca(mut self, ca: impl Into<String>) -> Self {
        self.ca = Some(ca.into());
        self
    }

    pub(super) fn has_pair(&self) -> bool {
        self.pair.is_some()
    }

    /// There is something, and certificate and key belong together, as Go's `tls.X509KeyPair` checks it.
    pub(super) fn check(&self) -> Result<()> {
        if let Some((certificate, key)) = &self.pair {
            match (certificate.is_empty(), key.is_empty()) {
                (true, _) => return Err(Error::invalid("there is a key without its certificate")),
                (_, true) => return Err(Error::invalid("there is a certificate without its key")),
                _ => check_pair(certificate, key)?,
            }
        }
        match &self.ca {
            Some(ca) => check_ca(ca),
            None if self.pair.is_none() => Err(Error::invalid("there is no certificate")),
            None => Ok(()),
        }
    }
}

fn check_pair(certificate: &str, key: &SecretString) -> Result<()> {
    let chain = certificates(certificate)?;
    // What the parser would quote may be the key.
    let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes())
        .map_err(|_| Error::invalid("there is no private key in PEM"))?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider)
        .map(drop)
        .map_err(|_| Error::invalid("the certificate and the key do not belong together"))
}

/// There is at least one certificate in PEM.
pub(super) fn check_ca(ca: &str) -> Result<()> {
    certificates(ca).map(drop)
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    let found: std::result::Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    found
        .ok()
        .filter(|found| !found.is_empty())
        .ok_or_else(|| Error::invalid("there is no certificate in PEM"))
}
