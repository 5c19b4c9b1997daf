//! Providers of credentials.

mod bound;
mod helper;
mod netrc;

use std::sync::Arc;

use async_trait::async_trait;
use gitops_core::Result;
use gitops_core::credential::{Credential, CredentialProvider, CredentialRequest};

pub use bound::{BoundProvider, Origin, StaticCredential, TokenFile};
pub use helper::CredentialHelper;
pub use netrc::Netrc;

/// Asks one provider after the other; the first that has a credential gives it.
#[derive(Clone, Debug, Default)]
pub struct CredentialChain {
    providers: Vec<Arc<dyn CredentialProvider>>,
}

impl CredentialChain {
    /// A chain without providers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a provider at the end.
    #[must_use]
    pub fn with(mut self, provider: impl CredentialProvider + 'static) -> Self {
        self.providers.push(Arc::new(provider));
        self
    }
}

#[async_trait]
impl CredentialProvider for CredentialChain {
    async fn credential(&self, request: &CredentialRequest) -> Result<Option<Credential>> {
        for provider in &self.providers {
            if let Some(credential) = provider.credential(request).await? {
                return Ok(Some(credential));
            }
        }
        Ok(None)
    }
}
