//! Validation of applications before they are synced.
//!
//! [`Validators`] asks any number of [`Validator`]s at the same time and hands back all that they found, each [`Finding`] with a stable code, a severity, the object, its
//! place in the source and the field.
//!
//! | validator | finds (codes) |
//! | --- | --- |
//! | [`WellFormed`] | missing fields, names, labels and annotations that the API server refuses, passwords in URLs: `missing-field`, `invalid-field`, `invalid-name`, `invalid-label`, `invalid-annotation`, `credentials-in-url` |
//! | [`AllowedRepositories`] | sources from elsewhere: `repository-denied` |
//! | [`AllowedDestinations`] | clusters and namespaces that are not for this application: `destination-denied` |
//! | [`PinnedRevision`] | branches and ranges where a commit or a version is demanded: `revision-not-pinned` |
//! | [`NoPlainTextSecrets`] | Secrets and private keys as they are: `plain-text-secret`, `private-key` |
//! | [`AllowedKinds`] | kinds that are not wanted: `kind-denied` |
//! | [`InsideDestination`] | objects for other namespaces: `namespace-outside-destination` |
//! | `AllowedImages` (feature `images`) | images from elsewhere or that move: `image-denied`, `image-not-pinned`, `invalid-image` |
//! | `SchemaValidator` (`gitops-kube`, feature `schema`) | objects that do not fit the API server's schema |
//! | `DryRunValidator` (`gitops-kube`) | what the API server refuses |
//!
//! # Where the sketch's methods are
//!
//! | in the sketch (Go) | here | tested by |
//! | --- | --- | --- |
//! | `ValidationManager` | [`Validators`] | `tests/validators.rs` |
//! | `ValidationManager.AddValidator(validator)` | [`Validators::add_validator`] | `all_findings_come_back_in_order_and_at_once` |
//! | `ValidationManager.ValidateApplication(ctx, app) error` | [`Validators::validate`], which gives a [`Report`]; [`Report::into_result`] makes an error of it; [`Validators::fail_fast`] stops at the first error as the sketch does | the same, `fail_fast_stops_at_the_first_error_in_order` |
//! | `Validator.Validate(ctx, app) error` | [`Validator::validate`] | a table for each validator there and in `tests/images.rs`; with a real API server in `e2e/tests/e2e/validate.rs` |

mod allow;
mod destination;
mod fields;
#[cfg(feature = "images")]
mod images;
mod kinds;
mod names;
mod pinned;
mod secrets;
mod validators;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::application::Application;
use crate::backend::Severity;
use crate::error::Result;
use crate::manifest::{ManifestSet, Object, ObjectId, Origin};

pub use self::allow::{AllowedDestinations, AllowedRepositories, DestinationPattern};
pub use self::destination::InsideDestination;
pub use self::fields::WellFormed;
#[cfg(feature = "images")]
pub use self::images::{AllowedImages, Image, images};
pub use self::kinds::AllowedKinds;
pub use self::pinned::PinnedRevision;
pub use self::secrets::NoPlainTextSecrets;
pub use self::validators::{Mode, Report, Validators};

/// What a validator may look at.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Context<'a> {
    /// The rendered manifests, where there are some.
    pub manifests: Option<&'a ManifestSet>,
    /// The revisions that they were rendered from, one per source.
    pub revisions: &'a [String],
}

impl<'a> Context<'a> {
    /// A context with rendered manifests.
    pub fn with_manifests(manifests: &'a ManifestSet) -> Self {
        Self {
            manifests: Some(manifests),
            revisions: &[],
        }
    }
}

/// Something that a validator found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A stable code, in kebab case (`plain-text-secret`).
    pub code: String,
    /// How much it matters; `Error` forbids the sync.
    pub severity: Severity,
    /// What was found, for people; no secrets.
    pub message: String,
    /// The object, when it is about one.
    pub object: Option<ObjectId>,
    /// Where in the source it is.
    pub origin: Option<Origin>,
    /// The field, as a JSON pointer.
    pub pointer: Option<String>,
}

impl Finding {
    /// A finding about the application as a whole.
    pub fn new(code: impl Into<String>, severity: Severity, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            severity,
            message: message.into(),
            object: None,
            origin: None,
            pointer: None,
        }
    }

    /// An error about the application as a whole.
    pub fn error(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Error, message)
    }

    /// A warning about the application as a whole.
    pub fn warning(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Warning, message)
    }

    /// Says which object it is about, and where that stands in the source.
    #[must_use]
    pub fn about(mut self, object: &Object) -> Self {
        self.object = Some(object.id());
        self.origin = object.origin().cloned();
        self
    }

    /// Says which field it is about, as a JSON pointer.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>) -> Self {
        self.pointer = Some(pointer.into());
        self
    }
}

impl fmt::Display for Finding {
    /// `deploy/web.yaml:12:1: error: Deployment.apps shop/web /spec/replicas: … [code]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        f.write_str(match self.severity {
            Severity::Info => "info: ",
            Severity::Warning => "warning: ",
            Severity::Error => "error: ",
        })?;
        if let Some(object) = &self.object {
            write!(f, "{object}")?;
            f.write_str(if self.pointer.is_some() { " " } else { ": " })?;
        }
        if let Some(pointer) = &self.pointer {
            write!(f, "{pointer}: ")?;
        }
        write!(f, "{} [{}]", self.message, self.code)
    }
}

/// One step of a JSON pointer, escaped (RFC 6901).
pub fn escape(part: &str) -> String {
    part.replace('~', "~0").replace('/', "~1")
}

/// The rendered objects of a context; none when there are none.
pub(crate) fn objects<'a>(context: &Context<'a>) -> impl Iterator<Item = &'a Object> + use<'a> {
    context.manifests.into_iter().flatten()
}

/// Looks for what is wrong with an application.
///
/// # Contract
/// - All findings come back, not the first one; no finding means an empty list.
/// - Nothing is changed; the network is used only by validators that say so.
/// - An error means that it could not look; nobody takes it for "nothing found".
#[async_trait]
pub trait Validator: Send + Sync {
    /// A short name for logs.
    fn name(&self) -> &str;

    /// Looks at `app`.
    ///
    /// # Errors
    /// When it cannot look.
    async fn validate(&self, app: &Application, context: &Context<'_>) -> Result<Vec<Finding>>;
}

macro_rules! forward {
    ($($wrapper:ty),*) => {$(
        #[async_trait]
        #[deny(clippy::missing_trait_methods)]
        impl<T: Validator + ?Sized> Validator for $wrapper {
            fn name(&self) -> &str {
                (**self).name()
            }
            async fn validate(&self, app: &Application, context: &Context<'_>) -> Result<Vec<Finding>> {
                (**self).validate(app, context).await
            }
        }
    )*};
}

forward!(&T, Box<T>, Arc<T>);
