//! Objects that leave their application's namespace.

use async_trait::async_trait;

use super::allow::Pattern;
use super::{Context, Finding, Validator, objects};
use crate::application::Application;
use crate::error::Result;

/// Finds rendered objects that name another namespace than the application's destination, and Namespaces other than that. Code: `namespace-outside-destination`.
///
/// Objects that name none go to the destination, or to no namespace at all; for cluster-scoped kinds there is [`AllowedKinds`](super::AllowedKinds).
#[derive(Clone, Debug, Default)]
pub struct InsideDestination {
    also: Vec<Pattern>,
}

impl InsideDestination {
    /// Only the destination's namespace.
    pub fn new() -> Self {
        Self::default()
    }

    /// Namespaces that match this glob are allowed as well.
    ///
    /// # Errors
    /// `InvalidInput` for a glob that cannot be read.
    pub fn also(mut self, glob: &str) -> Result<Self> {
        self.also.push(Pattern::new(glob, false)?);
        Ok(self)
    }
}

#[async_trait]
impl Validator for InsideDestination {
    fn name(&self) -> &str {
        "inside-destination"
    }

    async fn validate(&self, app: &Application, context: &Context<'_>) -> Result<Vec<Finding>> {
        let own = match app.destination.namespace.as_str() {
            "" => "default",
            namespace => namespace,
        };
        let outside = |namespace: &str| {
            namespace != own && !self.also.iter().any(|pattern| pattern.covers(namespace))
        };
        let mut findings = Vec::new();
        for object in objects(context) {
            let (namespace, pointer) = match (object.group(), object.kind()) {
                ("", "Namespace") => (object.name(), "/metadata/name"),
                _ => (object.namespace(), "/metadata/namespace"),
            };
            if !namespace.is_empty() && outside(namespace) {
                let message = format!("the namespace {namespace} is not {own}, the destination");
                let finding = Finding::error("namespace-outside-destination", message);
                findings.push(finding.about(object).at(pointer));
            }
        }
        Ok(findings)
    }
}
