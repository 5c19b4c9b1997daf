//! The template of a set.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::super::application::{Application, ApplicationSpec};
use super::super::extra::{Extra, Hidden, null_is_default};

/// `template`: the application that parameters are filled into. [`From<Application>`](Application) makes it with an application's builder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SetTemplate {
    /// Name, labels …
    #[serde(deserialize_with = "null_is_default")]
    pub metadata: SetTemplateMeta,
    /// The application's `spec`.
    #[serde(deserialize_with = "null_is_default")]
    pub spec: ApplicationSpec,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl From<Application> for SetTemplate {
    fn from(app: Application) -> Self {
        Self {
            metadata: SetTemplateMeta {
                name: app.metadata.name,
                namespace: app.metadata.namespace,
                labels: app.metadata.labels,
                annotations: app.metadata.annotations,
                finalizers: app.metadata.finalizers,
                extra: Extra::default(),
            },
            spec: app.spec,
            extra: Extra::default(),
        }
    }
}

/// `metadata` of a template.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SetTemplateMeta {
    /// The application's name.
    pub name: Option<String>,
    /// The namespace of the application itself; the set's own by default.
    pub namespace: Option<String>,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Annotations.
    pub annotations: Option<BTreeMap<String, String>>,
    /// Finalizers.
    pub finalizers: Option<Vec<String>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl fmt::Debug for SetTemplateMeta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetTemplateMeta")
            .field("name", &self.name)
            .field("namespace", &self.namespace)
            .field("labels", &self.labels)
            .field("annotations", &Hidden::keys(&self.annotations))
            .field("finalizers", &self.finalizers)
            .field("extra", &self.extra)
            .finish()
    }
}
