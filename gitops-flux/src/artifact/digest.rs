//! Digests, as `github.com/opencontainers/go-digest` writes them.

use std::fmt;
use std::str::FromStr;

use gitops_core::{Error, Result};
use sha2::Digest as _;

/// An algorithm that artifacts are digested with (source-controller's `--artifact-digest-algo`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// SHA-256, the default.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
    /// BLAKE3, 256 bits.
    Blake3,
}

impl Algorithm {
    /// Its name in digests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
            Self::Blake3 => "blake3",
        }
    }

    fn hex_len(self) -> usize {
        match self {
            Self::Sha256 | Self::Blake3 => 64,
            Self::Sha384 => 96,
            Self::Sha512 => 128,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A digest: `sha256:<hex>`. Without an algorithm it is one of SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

impl Digest {
    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The digest, in lower-case hexadecimal digits.
    pub fn hex(&self) -> &str {
        &self.hex
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.hex)
    }
}

impl FromStr for Digest {
    type Err = Error;

    /// `Unsupported` for an algorithm that is not known here, `Integrity` for what is no digest.
    fn from_str(text: &str) -> Result<Self> {
        let (algorithm, hex) = text.split_once(':').unwrap_or(("sha256", text));
        let algorithm = match algorithm {
            "sha256" => Algorithm::Sha256,
            "sha384" => Algorithm::Sha384,
            "sha512" => Algorithm::Sha512,
            "blake3" => Algorithm::Blake3,
            other => {
                return Err(Error::unsupported(
                    &format!("digests of {other:?}"),
                    "the artifact reader",
                ));
            }
        };
        let digits = hex
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !digits || hex.len() != algorithm.hex_len() {
            return Err(Error::integrity(format!(
                "{:?} is no digest of {algorithm}",
                hex.chars().take(140).collect::<String>()
            )));
        }
        Ok(Self {
            algorithm,
            hex: hex.to_owned(),
        })
    }
}

/// Digests what passes by.
pub(super) enum Hasher {
    Sha256(sha2::Sha256),
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
    Blake3(Box<blake3::Hasher>),
}

impl Hasher {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(sha2::Sha256::new()),
            Algorithm::Sha384 => Self::Sha384(sha2::Sha384::new()),
            Algorithm::Sha512 => Self::Sha512(sha2::Sha512::new()),
            Algorithm::Blake3 => Self::Blake3(Box::default()),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha384(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
            Self::Blake3(hash) => {
                hash.update(bytes);
            }
        }
    }

    pub(super) fn hex(self) -> String {
        match self {
            Self::Sha256(hash) => hex::encode(hash.finalize()),
            Self::Sha384(hash) => hex::encode(hash.finalize()),
            Self::Sha512(hash) => hex::encode(hash.finalize()),
            Self::Blake3(hash) => hash.finalize().to_hex().to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use gitops_core::ErrorKind;

    use super::*;

    #[test]
    fn digests_are_those_of_the_standards() {
        for (algorithm, of_abc) in [
            (
                Algorithm::Sha256,
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
            (
                Algorithm::Sha384,
                "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
            ),
            (
                Algorithm::Sha512,
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            ),
            (
                Algorithm::Blake3,
                "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
            ),
        ] {
            let mut hasher = Hasher::new(algorithm);
            hasher.update(b"a");
            hasher.update(b"bc");
            let digest: Digest = format!("{algorithm}:{of_abc}").parse().unwrap();
            assert_eq!(hasher.hex(), digest.hex());
            assert_eq!(digest.to_string(), format!("{algorithm}:{of_abc}"));
        }
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        let bare: Digest = "0".repeat(64).parse().unwrap();
        assert_eq!(bare.algorithm(), Algorithm::Sha256);
        for (text, kind) in [
            (String::new(), ErrorKind::Integrity),
            ("sha256:".to_owned(), ErrorKind::Integrity),
            (format!("sha256:{}", "A".repeat(64)), ErrorKind::Integrity),
            (format!("sha512:{}", "a".repeat(64)), ErrorKind::Integrity),
            (format!("sha1:{}", "a".repeat(40)), ErrorKind::Unsupported),
            ("md5:x".to_owned(), ErrorKind::Unsupported),
        ] {
            assert_eq!(text.parse::<Digest>().unwrap_err().kind(), kind, "{text}");
        }
    }
}
