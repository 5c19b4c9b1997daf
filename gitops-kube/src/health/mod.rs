//! How well an object runs, told from the object alone.
//!
//! [`HealthRules`] holds a rule for every kind that Kubernetes, Argo CD, Flux, Tekton and their neighbours give a status to, in two
//! readings: [`Reading::Strict`] for a deploy gate, and [`Reading::Kstatus`] as Flux, kpt and others read it. For other kinds the
//! generic conditions count (Reconciling, Stalled, Ready, the observed generation), or a rule of your own: a [`HealthRule`], or CEL
//! expressions (`cel::CelRule`, feature `cel`).
//!
//! ```
//! use gitops_core::application::HealthStatus;
//! use gitops_core::manifest::Object;
//! use gitops_kube::health::HealthRules;
//!
//! let pod = serde_json::json!({
//!     "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
//!     "status": {"phase": "Pending"},
//! });
//! let health = HealthRules::strict().assess(&Object::new(pod, None)?);
//! assert_eq!(health.status, HealthStatus::Progressing);
//! # Ok::<(), gitops_core::Error>(())
//! ```
//!
//! A field that is not what the API says (a text where a count belongs) is never taken for zero or absent: the health is Unknown, and the
//! message names the field.

#[cfg(feature = "cel")]
pub mod cel;
mod generic;
pub mod pods;
mod rules;
mod view;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use gitops_core::Result;
use gitops_core::application::{Health, HealthStatus};
use gitops_core::manifest::{GroupKind, Object};
use serde_json::Value;

use self::view::{Checked, View};

/// A rule for kinds that the built-in rules do not know, or judge otherwise than you do.
///
/// # Contract
/// `assess` is called for objects of [`kinds`](HealthRule::kinds) only, never for one that is being deleted, and often: it must
/// neither block nor ask anybody. What it reads is unchecked input and may have any shape. `Ok(None)` means "nothing to say": an
/// earlier rule for the kind, and at last the built-in one, is asked.
pub trait HealthRule: Send + Sync {
    /// The kinds that it judges, of whatever version.
    fn kinds(&self) -> Vec<GroupKind>;

    /// How well the object runs.
    ///
    /// # Errors
    /// Whatever keeps it from telling; [`HealthRules`] makes it `Unknown` with the error as the message, so no secret belongs into it.
    fn assess(&self, object: &Object) -> Result<Option<Health>>;
}

macro_rules! forward {
    ($($target:ty),+) => {$(
        #[deny(clippy::missing_trait_methods)]
        impl<T: HealthRule + ?Sized> HealthRule for $target {
            fn kinds(&self) -> Vec<GroupKind> {
                (**self).kinds()
            }

            fn assess(&self, object: &Object) -> Result<Option<Health>> {
                (**self).assess(object)
            }
        }
    )+};
}

forward!(&T, Box<T>, Arc<T>);

/// How the built-in rules read an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reading {
    /// For a deploy gate: Healthy means that it does what it was made for. A Job has completed, a failed Pod is Degraded, a load balancer has its
    /// address. The words are Argo CD's; each rule's file says where it is stricter than Argo CD.
    #[default]
    Strict,
    /// As kstatus reads it (sigs.k8s.io/cli-utils and Flux' fork of it): Current is Healthy, InProgress and Terminating are Progressing,
    /// Failed is Degraded.
    Kstatus,
}

/// The rules by which objects are assessed. Cheap to clone.
#[derive(Clone, Default)]
pub struct HealthRules {
    reading: Reading,
    own: HashMap<GroupKind, Vec<Arc<dyn HealthRule>>>,
}

/// The finalizer by which Argo CD holds a hook until its phase is over; the hook's own end still counts.
const HOOK_FINALIZER: &str = "argocd.argoproj.io/hook-finalizer";

impl HealthRules {
    /// The built-in rules in the strict reading; the default.
    pub fn strict() -> Self {
        Self::new(Reading::Strict)
    }

    /// The built-in rules as kstatus has them.
    pub fn kstatus() -> Self {
        Self::new(Reading::Kstatus)
    }

    /// The built-in rules in a reading.
    pub fn new(reading: Reading) -> Self {
        Self {
            reading,
            own: HashMap::new(),
        }
    }

    /// The reading of the built-in rules.
    pub fn reading(&self) -> Reading {
        self.reading
    }

    /// Puts a rule before the built-in ones and those added earlier.
    #[must_use]
    pub fn with(mut self, rule: impl HealthRule + 'static) -> Self {
        let rule: Arc<dyn HealthRule> = Arc::new(rule);
        for kind in rule.kinds() {
            self.own.entry(kind).or_default().push(Arc::clone(&rule));
        }
        self
    }

    /// Whether there is a rule for the kind, yours or a built-in one. Without one, only conditions tell of its objects' health.
    pub fn has_rule(&self, kind: &GroupKind) -> bool {
        self.own.contains_key(kind) || rules::builtin(&kind.group, &kind.kind).is_some()
    }

    /// How well the object runs; Healthy where nothing in it tells (a ConfigMap is as good as it gets once it exists).
    pub fn assess(&self, object: &Object) -> Health {
        self.health_of(object).unwrap_or_else(Health::healthy)
    }

    /// How well the object runs; `None` where its kind has no health.
    pub fn health_of(&self, object: &Object) -> Option<Health> {
        match self.check(object) {
            Ok(health) => health,
            Err(wrong) => Some(Health::new(HealthStatus::Unknown, wrong.to_string())),
        }
    }

    fn check(&self, object: &Object) -> Checked<Option<Health>> {
        let view = View::new(object);
        if let Some(at) = view.get("metadata.deletionTimestamp")?
            && at != &Value::String(String::new())
        {
            let held: Vec<&str> = view
                .list("metadata.finalizers")?
                .iter()
                .filter_map(Value::as_str)
                .collect();
            if self.reading == Reading::Kstatus || !held.contains(&HOOK_FINALIZER) {
                return Ok(Some(progressing(if held.is_empty() {
                    "it is being deleted".to_owned()
                } else {
                    format!("it is being deleted; held by {}", held.join(", "))
                })));
            }
        }
        if !self.own.is_empty() {
            let kind = GroupKind::new(object.group(), object.kind());
            for rule in self.own.get(&kind).into_iter().flatten().rev() {
                match rule.assess(object) {
                    Ok(Some(health)) => return Ok(Some(health)),
                    Ok(None) => {}
                    Err(error) => {
                        return Ok(Some(Health::new(
                            HealthStatus::Unknown,
                            format!("{error:#}"),
                        )));
                    }
                }
            }
        }
        let builtin = rules::builtin(object.group(), object.kind());
        match (self.reading, builtin) {
            (Reading::Strict, Some(builtin)) => (builtin.strict)(&view).map(Some),
            (Reading::Strict, None) => generic::strict(&view),
            (Reading::Kstatus, builtin) => {
                if let Some(health) = generic::standard(&view)? {
                    return Ok(Some(health));
                }
                match builtin.and_then(|builtin| builtin.kstatus) {
                    Some(rule) => rule(&view).map(Some),
                    None => generic::ready(&view),
                }
            }
        }
    }
}

impl fmt::Debug for HealthRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut own: Vec<String> = self.own.keys().map(GroupKind::to_string).collect();
        own.sort();
        f.debug_struct("HealthRules")
            .field("reading", &self.reading)
            .field("own", &own)
            .finish()
    }
}

fn healthy(message: impl Into<String>) -> Health {
    Health::new(HealthStatus::Healthy, message)
}

fn progressing(message: impl Into<String>) -> Health {
    Health::new(HealthStatus::Progressing, message)
}

fn degraded(message: impl Into<String>) -> Health {
    Health::new(HealthStatus::Degraded, message)
}

fn suspended(message: impl Into<String>) -> Health {
    Health::new(HealthStatus::Suspended, message)
}
