//! SSH keys for Git.

use std::fmt;

use gitops_core::secret::SecretString;
#[cfg(feature = "ssh")]
use gitops_core::{Error, Result};

/// A private key for SSH, with its public half, which the forge gets as a deploy key.
#[derive(Clone, PartialEq)]
pub struct SshKey {
    private: SecretString,
    public: String,
    password: Option<SecretString>,
}

impl fmt::Debug for SshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SshKey")
            .field("public", &self.public)
            .field("encrypted", &self.password.is_some())
            .finish_non_exhaustive()
    }
}

/// The kinds of keys that are made here; Git servers take all of them. (The command makes `ecdsa-p384` unless told otherwise; RSA keys can be brought along.)
#[cfg(feature = "ssh")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SshKeyAlgorithm {
    /// Ed25519.
    #[default]
    Ed25519,
    /// ECDSA on the NIST curve P-256.
    EcdsaP256,
    /// ECDSA on the NIST curve P-384.
    EcdsaP384,
}

impl SshKey {
    /// A key that is there: the private half in any form that OpenSSH reads, the public half as a line of `authorized_keys` (it may be empty).
    pub fn from_parts(private: impl Into<SecretString>, public: impl Into<String>) -> Self {
        Self {
            private: private.into(),
            public: public.into(),
            password: None,
        }
    }

    /// For a private half that is encrypted: what it is decrypted with.
    #[must_use]
    pub fn with_password(mut self, password: impl Into<SecretString>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// The private half.
    pub fn private(&self) -> &SecretString {
        &self.private
    }

    /// The public half: a line of `authorized_keys`.
    pub fn public(&self) -> &str {
        &self.public
    }

    /// What the private half is decrypted with.
    pub fn password(&self) -> Option<&SecretString> {
        self.password.as_ref()
    }

    /// A new key, from the operating system's random numbers, in OpenSSH's form.
    ///
    /// # Errors
    /// `Internal` when no key can be made.
    #[cfg(feature = "ssh")]
    pub fn generate(algorithm: SshKeyAlgorithm) -> Result<Self> {
        use ssh_key::{Algorithm, EcdsaCurve, PrivateKey};
        let algorithm = match algorithm {
            SshKeyAlgorithm::Ed25519 => Algorithm::Ed25519,
            SshKeyAlgorithm::EcdsaP256 => Algorithm::Ecdsa {
                curve: EcdsaCurve::NistP256,
            },
            SshKeyAlgorithm::EcdsaP384 => Algorithm::Ecdsa {
                curve: EcdsaCurve::NistP384,
            },
        };
        let failed =
            |error: ssh_key::Error| Error::internal("cannot make an SSH key").with_source(error);
        let key = PrivateKey::random(&mut ssh_key::rand_core::OsRng, algorithm).map_err(failed)?;
        let private = key.to_openssh(ssh_key::LineEnding::LF).map_err(failed)?;
        let public = key.public_key().to_openssh().map_err(failed)?;
        Ok(Self {
            private: SecretString::new(private.as_str()),
            public: format!("{public}\n"),
            password: None,
        })
    }

    /// A key from its private half in OpenSSH's form; the public half is read from it, also of an encrypted one.
    ///
    /// # Errors
    /// `InvalidInput` for what is no such key (PEM forms other than OpenSSH's: use [`from_parts`](Self::from_parts)).
    #[cfg(feature = "ssh")]
    pub fn from_openssh(private: impl Into<SecretString>) -> Result<Self> {
        let private = private.into();
        // The error could quote what was read.
        let key = ssh_key::PrivateKey::from_openssh(private.expose())
            .map_err(|_| Error::invalid("there is no private key in OpenSSH's form"))?;
        let public = key
            .public_key()
            .to_openssh()
            .map_err(|error| Error::invalid("the key has no public half").with_source(error))?;
        Ok(Self {
            private,
            public: format!("{public}\n"),
            password: None,
        })
    }
}
