//! The kind `ApplicationSet`: generators, the template they fill, and what becomes of the applications.

mod credentials;
mod generator;
mod git;
mod pull_request;
mod rollout;
mod scm;
mod status;
mod template;

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ListMeta, ObjectMeta};
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::api_version;
use super::extra::{DebugMeta, Extra, Hidden, null_is_default};

pub use self::credentials::{BasicAuth, BearerToken, ConfigMapKeyRef, SecretRef};
pub use self::generator::{
    ClusterDecisionGenerator, ClusterGenerator, Generator, ListGenerator, MatrixGenerator,
    MergeGenerator, PluginConfigMapRef, PluginGenerator, PluginInput,
};
pub use self::git::{GitDirectory, GitFile, GitGenerator};
pub use self::pull_request::{
    PullRequestAzureDevOps, PullRequestBitbucket, PullRequestBitbucketServer, PullRequestFilter,
    PullRequestGenerator, PullRequestGitea, PullRequestGithub, PullRequestGitlab,
};
pub use self::rollout::{
    PreservedFields, SetIgnoreDifferences, SetMatchExpression, SetRollingSync, SetRolloutStep,
    SetStrategy, SetSyncPolicy,
};
pub use self::scm::{
    ScmAwsCodeCommit, ScmAzureDevOps, ScmBitbucket, ScmBitbucketServer, ScmFilter, ScmGitea,
    ScmGithub, ScmGitlab, ScmProviderGenerator, ScmTagFilter,
};
pub use self::status::{ApplicationSetStatus, SetApplicationStatus, SetCondition};
pub use self::template::{SetTemplate, SetTemplateMeta};

/// An `ApplicationSet` of Argo CD.
///
/// ```
/// use gitops_argocd::types::set::Generator;
/// use gitops_argocd::types::{Application, ApplicationSet, Destination, Source};
///
/// let set = ApplicationSet::new("my-apps")
///     .generator(Generator::list([
///         [("name", "app1"), ("namespace", "default")],
///         [("name", "app2"), ("namespace", "default")],
///     ]))
///     .template(
///         Application::new("{{name}}")
///             .source(Source::git("https://github.com/my-org/my-repo").path("k8s/{{name}}"))
///             .destination(Destination::default().namespace("{{namespace}}"))
///             .automated(true, true),
///     );
/// assert_eq!(set.spec.template.metadata.name.as_deref(), Some("{{name}}"));
/// ```
#[skip_serializing_none]
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApplicationSet {
    /// `argoproj.io/v1alpha1`.
    #[serde(default = "api_version")]
    pub api_version: String,
    /// `ApplicationSet`.
    #[serde(default = "kind")]
    pub kind: String,
    /// Name, namespace, labels …
    #[serde(default, deserialize_with = "null_is_default")]
    pub metadata: ObjectMeta,
    /// What is asked for.
    #[serde(default, deserialize_with = "null_is_default")]
    pub spec: ApplicationSetSpec,
    /// What became of it.
    pub status: Option<ApplicationSetStatus>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

fn kind() -> String {
    "ApplicationSet".to_owned()
}

impl Default for ApplicationSet {
    fn default() -> Self {
        Self {
            api_version: api_version(),
            kind: kind(),
            metadata: ObjectMeta::default(),
            spec: ApplicationSetSpec::default(),
            status: None,
            extra: Extra::default(),
        }
    }
}

impl ApplicationSet {
    /// A set without generators yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            metadata: ObjectMeta {
                name: Some(name.into()),
                ..ObjectMeta::default()
            },
            ..Self::default()
        }
    }

    /// The name; empty when it has none.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// The namespace of the resource itself; empty when it names none.
    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// Sets the namespace of the resource itself.
    #[must_use]
    pub fn in_namespace(mut self, namespace: impl Into<String>) -> Self {
        self.metadata.namespace = Some(namespace.into());
        self
    }

    /// Adds a generator.
    #[must_use]
    pub fn generator(mut self, generator: Generator) -> Self {
        self.spec.generators.push(generator);
        self
    }

    /// Sets the template: an application whose fields hold placeholders, or a [`SetTemplate`].
    #[must_use]
    pub fn template(mut self, template: impl Into<SetTemplate>) -> Self {
        self.spec.template = template.into();
        self
    }

    /// Sets the patch that is rendered and merged into each application.
    #[must_use]
    pub fn template_patch(mut self, patch: impl Into<String>) -> Self {
        self.spec.template_patch = Some(patch.into());
        self
    }

    /// Templates are Go's (`{{ .name }}`), with options such as `missingkey=error`.
    #[must_use]
    pub fn go_template(mut self, options: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let options: Vec<String> = options.into_iter().map(Into::into).collect();
        self.spec.go_template = Some(true);
        self.spec.go_template_options = (!options.is_empty()).then_some(options);
        self
    }

    /// Sets what may be done to the applications.
    #[must_use]
    pub fn sync_policy(mut self, policy: SetSyncPolicy) -> Self {
        self.spec.sync_policy = Some(policy);
        self
    }

    /// Sets the order in which the applications are changed.
    #[must_use]
    pub fn strategy(mut self, strategy: SetStrategy) -> Self {
        self.spec.strategy = Some(strategy);
        self
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata
            .labels
            .get_or_insert_default()
            .insert(key.into(), value.into());
        self
    }

    /// Adds an annotation.
    #[must_use]
    pub fn annotation(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata
            .annotations
            .get_or_insert_default()
            .insert(key.into(), value.into());
        self
    }
}

impl fmt::Debug for ApplicationSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApplicationSet")
            .field("metadata", &DebugMeta(&self.metadata))
            .field("spec", &self.spec)
            .field("status", &self.status)
            .field("extra", &self.extra)
            .finish_non_exhaustive()
    }
}

/// A list of application sets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ApplicationSetList {
    /// The list's resource version.
    pub metadata: ListMeta,
    /// The sets; Argo CD writes `null` for none.
    pub items: Option<Vec<ApplicationSet>>,
}

/// `spec` of an application set.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ApplicationSetSpec {
    /// Whether templates are Go's; plain `{{name}}` otherwise.
    pub go_template: Option<bool>,
    /// What makes the parameters.
    #[serde(deserialize_with = "null_is_default")]
    pub generators: Vec<Generator>,
    /// The application that the parameters are filled into.
    #[serde(deserialize_with = "null_is_default")]
    pub template: SetTemplate,
    /// What may be done to the applications.
    pub sync_policy: Option<SetSyncPolicy>,
    /// The order in which the applications are changed.
    pub strategy: Option<SetStrategy>,
    /// What others may add to the applications.
    pub preserved_fields: Option<PreservedFields>,
    /// Options of Go's templates, such as `missingkey=error`.
    pub go_template_options: Option<Vec<String>>,
    /// Not read any more: selectors of nested generators always apply.
    pub apply_nested_selectors: Option<bool>,
    /// Differences of the applications that do not count.
    pub ignore_application_differences: Option<Vec<SetIgnoreDifferences>>,
    /// A patch of the application, as a text that is rendered like the template.
    pub template_patch: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

impl fmt::Debug for ApplicationSetSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApplicationSetSpec")
            .field("go_template", &self.go_template)
            .field("generators", &self.generators)
            .field("template", &self.template)
            .field("sync_policy", &self.sync_policy)
            .field("strategy", &self.strategy)
            .field("preserved_fields", &self.preserved_fields)
            .field("go_template_options", &self.go_template_options)
            .field("apply_nested_selectors", &self.apply_nested_selectors)
            .field(
                "ignore_application_differences",
                &self.ignore_application_differences,
            )
            .field("template_patch", &Hidden::of(&self.template_patch))
            .field("extra", &self.extra)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    use serde_json::{Value, json};

    use super::*;
    use crate::types::{Application, Destination, Source};

    fn written(set: &ApplicationSet) -> Value {
        serde_json::to_value(set).unwrap()
    }

    #[test]
    fn a_list_and_a_template() {
        let set = ApplicationSet::new("my-apps")
            .generator(Generator::list([
                [("name", "app1"), ("namespace", "default")],
                [("name", "app2"), ("namespace", "default")],
            ]))
            .template(
                Application::new("{{name}}")
                    .source(Source::git("https://github.com/my-org/my-repo").path("k8s/{{name}}"))
                    .destination(Destination::default().namespace("{{namespace}}"))
                    .automated(true, true),
            );
        let expected = json!({
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "ApplicationSet",
            "metadata": {"name": "my-apps"},
            "spec": {
                "generators": [{"list": {"elements": [
                    {"name": "app1", "namespace": "default"},
                    {"name": "app2", "namespace": "default"},
                ]}}],
                "template": {
                    "metadata": {"name": "{{name}}"},
                    "spec": {
                        "project": "default",
                        "source": {"repoURL": "https://github.com/my-org/my-repo", "path": "k8s/{{name}}"},
                        "destination": {"namespace": "{{namespace}}"},
                        "syncPolicy": {"automated": {"prune": true, "selfHeal": true}},
                    },
                },
            },
        });
        assert_eq!(written(&set), expected);
        assert_eq!(
            serde_json::from_value::<ApplicationSet>(expected).unwrap(),
            set
        );
    }

    #[test]
    fn nested_generators_are_typed_at_every_depth() {
        let document = json!({
            "matrix": {"generators": [
                {"git": {"repoURL": "https://git", "revision": "HEAD", "directories": [{"path": "apps/*"}]}},
                {"merge": {"mergeKeys": ["server"], "generators": [
                    {"clusters": {"selector": {"matchLabels": {"env": "prod"}}}},
                    {"list": {"elements": [{"server": "https://a", "weight": 2}]}, "selector": {"matchLabels": {"on": "yes"}}},
                ]}},
            ]},
        });
        let built = Generator::matrix(
            Generator::git_directories("https://git", "HEAD", ["apps/*"]),
            Generator::merge(
                ["server"],
                [
                    Generator::clusters_with([("env", "prod")]),
                    Generator::list([[
                        ("server", Value::from("https://a")),
                        ("weight", Value::from(2)),
                    ]])
                    .only([("on", "yes")]),
                ],
            ),
        );
        assert_eq!(serde_json::to_value(&built).unwrap(), document);
        assert_eq!(
            serde_json::from_value::<Generator>(document).unwrap(),
            built
        );
        let wrong = json!({"matrix": {"generators": [{"merge": {"generators": [{"clusters": {"flatList": "yes"}}]}}]}});
        assert!(serde_json::from_value::<Generator>(wrong).is_err());
    }

    #[test]
    fn what_go_writes_for_nothing_is_read() {
        let set: ApplicationSet = serde_json::from_value(json!({
            "spec": {"generators": [{"list": {"elements": null, "elementsYaml": "[]", "template": {"metadata": {}, "spec": {"destination": {}, "project": ""}}}},
                {"merge": {"generators": null, "mergeKeys": null}}]},
            "status": {"applicationStatus": [{"application": "a", "targetRevisions": null}]},
        }))
        .unwrap();
        assert_eq!(set.spec.generators.len(), 2);
        for nothing in [
            json!({"metadata": null, "spec": null}),
            json!({"spec": {"generators": null, "template": null}}),
            json!({"spec": {"template": {"metadata": null, "spec": null}}}),
            json!({"spec": {"template": {"spec": {"destination": null}}}}),
        ] {
            let set: ApplicationSet = serde_json::from_value(nothing).unwrap();
            assert_eq!(set, ApplicationSet::default());
        }
    }

    #[test]
    fn steps_of_a_rollout() {
        let strategy = SetStrategy::rolling([
            SetRolloutStep::label_in("env", ["dev"]),
            SetRolloutStep::label_in("env", ["prod"]).max_update(IntOrString::String("10%".into())),
        ]);
        assert_eq!(
            serde_json::to_value(strategy).unwrap(),
            json!({"type": "RollingSync", "rollingSync": {"steps": [
                {"matchExpressions": [{"key": "env", "operator": "In", "values": ["dev"]}]},
                {"matchExpressions": [{"key": "env", "operator": "In", "values": ["prod"]}], "maxUpdate": "10%"},
            ]}})
        );
    }

    #[test]
    fn debug_prints_nothing_that_may_be_secret() {
        let document = json!({
            "metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "hush"}},
            "spec": {
                "generators": [
                    {"list": {"elements": [{"password": "hush"}], "elementsYaml": "hush"}},
                    {"clusters": {"values": {"password": "hush"}}},
                    {"git": {"repoURL": "https://user:hush@git", "revision": "HEAD", "values": {"password": "hush"}}},
                    {"scmProvider": {"gitea": {"owner": "me", "api": "https://user:hush@git"}, "values": {"password": "hush"}}},
                    {"pullRequest": {"github": {"owner": "me", "repo": "mine", "api": "https://user:hush@git"}, "values": {"password": "hush"}}},
                    {"clusterDecisionResource": {"configMapRef": "map", "values": {"password": "hush"}}},
                    {"plugin": {"configMapRef": {"name": "map"}, "input": {"parameters": {"password": "hush"}}, "values": {"password": "hush"}}},
                ],
                "template": {
                    "metadata": {"annotations": {"password": "hush"}},
                    "spec": {"source": {"repoURL": "https://user:hush@git", "helm": {"values": "hush"}}},
                },
                "templatePatch": "hush",
                "newer": "hush",
            },
        });
        let set: ApplicationSet = serde_json::from_value(document).unwrap();
        let printed = format!("{set:?} {set:#?}");
        assert!(!printed.contains("hush"), "{printed}");
        assert!(printed.contains("password"));
    }
}
