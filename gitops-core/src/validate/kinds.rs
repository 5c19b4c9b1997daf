//! Kinds that are not wanted.

use async_trait::async_trait;

use super::allow::Pattern;
use super::{Context, Finding, Validator, objects};
use crate::application::Application;
use crate::error::Result;
use crate::manifest::GroupKind;

/// Finds rendered objects of kinds that are denied, or not allowed (the resource lists of an AppProject). Code: `kind-denied`.
///
/// A rule is a glob for the API group and one for the kind; the core group is empty, `*` is every group. What is denied is denied whatever is allowed; where something is allowed, the
/// rest is not.
#[derive(Clone, Debug, Default)]
pub struct AllowedKinds {
    deny: Vec<(Pattern, Pattern)>,
    allow: Vec<(Pattern, Pattern)>,
}

impl AllowedKinds {
    /// Everything is allowed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Denies the kinds that match.
    ///
    /// # Errors
    /// `InvalidInput` for a glob that cannot be read.
    pub fn deny(mut self, group: &str, kind: &str) -> Result<Self> {
        self.deny
            .push((Pattern::new(group, false)?, Pattern::new(kind, false)?));
        Ok(self)
    }

    /// Allows the kinds that match, and no others but those that are allowed as well.
    ///
    /// # Errors
    /// `InvalidInput` for a glob that cannot be read.
    pub fn allow(mut self, group: &str, kind: &str) -> Result<Self> {
        self.allow
            .push((Pattern::new(group, false)?, Pattern::new(kind, false)?));
        Ok(self)
    }

    /// Whether objects of a kind may be deployed.
    pub fn permits(&self, kind: &GroupKind) -> bool {
        let on = |list: &[(Pattern, Pattern)]| {
            list.iter()
                .any(|(group, name)| group.covers(&kind.group) && name.covers(&kind.kind))
        };
        !on(&self.deny) && (self.allow.is_empty() || on(&self.allow))
    }
}

#[async_trait]
impl Validator for AllowedKinds {
    fn name(&self) -> &str {
        "allowed-kinds"
    }

    async fn validate(&self, _: &Application, context: &Context<'_>) -> Result<Vec<Finding>> {
        Ok(objects(context)
            .filter(|object| !self.permits(&object.gvk().group_kind()))
            .map(|object| {
                let kind = object.gvk().group_kind();
                let message = format!("objects of the kind {kind} may not be deployed");
                Finding::error("kind-denied", message)
                    .about(object)
                    .at("/kind")
            })
            .collect())
    }
}
