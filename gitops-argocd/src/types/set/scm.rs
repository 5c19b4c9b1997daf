//! The generator that lists an organisation's repositories.

use std::collections::BTreeMap;
use std::fmt;

use gitops_core::error::redact_url;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::super::extra::{Extra, Hidden};
use super::credentials::{BasicAuth, BearerToken, ConfigMapKeyRef, SecretRef};
use super::template::SetTemplate;

/// `scmProvider`: parameters from the repositories of an organisation.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScmProviderGenerator {
    /// GitHub.
    pub github: Option<ScmGithub>,
    /// GitLab.
    pub gitlab: Option<ScmGitlab>,
    /// Bitbucket Cloud.
    pub bitbucket: Option<ScmBitbucket>,
    /// Bitbucket Server.
    pub bitbucket_server: Option<ScmBitbucketServer>,
    /// Gitea.
    pub gitea: Option<ScmGitea>,
    /// Azure DevOps.
    pub azure_dev_ops: Option<ScmAzureDevOps>,
    /// Which repositories: those that one of these takes; all by default.
    pub filters: Option<Vec<ScmFilter>>,
    /// `ssh`, or `https`.
    pub clone_protocol: Option<String>,
    /// How often it looks; every 30 minutes by default.
    pub requeue_after_seconds: Option<i64>,
    /// Put over the set's own template.
    pub template: Option<Box<SetTemplate>>,
    /// More parameters, under `values`.
    pub values: Option<BTreeMap<String, String>>,
    /// AWS CodeCommit.
    pub aws_code_commit: Option<ScmAwsCodeCommit>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `github`.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScmGithub {
    /// The organisation.
    pub organization: String,
    /// The API's URL; `https://api.github.com/` by default.
    pub api: Option<String>,
    /// Where the token is; public repositories need none.
    pub token_ref: Option<SecretRef>,
    /// The `Secret` of a GitHub App, instead of a token.
    pub app_secret_name: Option<String>,
    /// All branches, not the default one only.
    pub all_branches: Option<bool>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `gitlab`.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScmGitlab {
    /// The group, by its number or its path.
    pub group: String,
    /// Groups below it too.
    pub include_subgroups: Option<bool>,
    /// The API's URL; `https://gitlab.com/` by default.
    pub api: Option<String>,
    /// Where the token is; public repositories need none.
    pub token_ref: Option<SecretRef>,
    /// All branches, not the default one only.
    pub all_branches: Option<bool>,
    /// Do not check the server's certificate.
    pub insecure: Option<bool>,
    /// With subgroups: projects that are shared with them too, as by default.
    pub include_shared_projects: Option<bool>,
    /// Only projects with this topic.
    pub topic: Option<String>,
    /// Certificates to trust.
    pub ca_ref: Option<ConfigMapKeyRef>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `bitbucket`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScmBitbucket {
    /// The workspace.
    pub owner: String,
    /// The user.
    pub user: String,
    /// Where the user's app password is.
    pub app_password_ref: Option<SecretRef>,
    /// All branches, not the default one only.
    pub all_branches: Option<bool>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `bitbucketServer`.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScmBitbucketServer {
    /// The project.
    pub project: String,
    /// The API's URL.
    pub api: String,
    /// A user and a password.
    pub basic_auth: Option<BasicAuth>,
    /// All branches, not the default one only.
    pub all_branches: Option<bool>,
    /// A token, instead.
    pub bearer_token: Option<BearerToken>,
    /// Do not check the server's certificate.
    pub insecure: Option<bool>,
    /// Certificates to trust.
    pub ca_ref: Option<ConfigMapKeyRef>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `gitea`.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScmGitea {
    /// The organisation, or the user.
    pub owner: String,
    /// The API's URL.
    pub api: String,
    /// Where the token is; public repositories need none.
    pub token_ref: Option<SecretRef>,
    /// All branches, not the default one only.
    pub all_branches: Option<bool>,
    /// Do not check the server's certificate.
    pub insecure: Option<bool>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `azureDevOps`.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScmAzureDevOps {
    /// The organisation.
    pub organization: String,
    /// The API's URL; `https://dev.azure.com` by default.
    pub api: Option<String>,
    /// The project.
    pub team_project: String,
    /// Where the personal access token is.
    pub access_token_ref: Option<SecretRef>,
    /// All branches, not the default one only.
    pub all_branches: Option<bool>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `awsCodeCommit`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScmAwsCodeCommit {
    /// Only repositories with these tags.
    pub tag_filters: Option<Vec<ScmTagFilter>>,
    /// The role to take on; the controller's own by default.
    pub role: Option<String>,
    /// The region; the controller's own by default.
    pub region: Option<String>,
    /// All branches, not the default one only.
    pub all_branches: Option<bool>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One of `tagFilters`.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScmTagFilter {
    /// The tag.
    pub key: String,
    /// Its value; any by default.
    pub value: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One of `filters`: all that is set must hold.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScmFilter {
    /// A regular expression for the name.
    pub repository_match: Option<String>,
    /// All of these paths are there.
    pub paths_exist: Option<Vec<String>>,
    /// None of these paths is there.
    pub paths_do_not_exist: Option<Vec<String>>,
    /// A regular expression that one of the labels matches.
    pub label_match: Option<String>,
    /// A regular expression for the branch.
    pub branch_match: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

// URLs may hold credentials, and parameters may be secrets.

impl fmt::Debug for ScmProviderGenerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScmProviderGenerator")
            .field("github", &self.github)
            .field("gitlab", &self.gitlab)
            .field("bitbucket", &self.bitbucket)
            .field("bitbucket_server", &self.bitbucket_server)
            .field("gitea", &self.gitea)
            .field("azure_dev_ops", &self.azure_dev_ops)
            .field("filters", &self.filters)
            .field("clone_protocol", &self.clone_protocol)
            .field("requeue_after_seconds", &self.requeue_after_seconds)
            .field("template", &self.template)
            .field("values", &Hidden::keys(&self.values))
            .field("aws_code_commit", &self.aws_code_commit)
            .field("extra", &self.extra)
            .finish()
    }
}

impl fmt::Debug for ScmGithub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScmGithub")
            .field("organization", &self.organization)
            .field("api", &self.api.as_deref().map(redact_url))
            .field("token_ref", &self.token_ref)
            .field("app_secret_name", &self.app_secret_name)
            .field("all_branches", &self.all_branches)
            .field("extra", &self.extra)
            .finish()
    }
}

impl fmt::Debug for ScmGitlab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScmGitlab")
            .field("group", &self.group)
            .field("include_subgroups", &self.include_subgroups)
            .field("api", &self.api.as_deref().map(redact_url))
            .field("token_ref", &self.token_ref)
            .field("all_branches", &self.all_branches)
            .field("insecure", &self.insecure)
            .field("include_shared_projects", &self.include_shared_projects)
            .field("topic", &self.topic)
            .field("ca_ref", &self.ca_ref)
            .field("extra", &self.extra)
            .finish()
    }
}

impl fmt::Debug for ScmBitbucketServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScmBitbucketServer")
            .field("project", &self.project)
            .field("api", &redact_url(&self.api))
            .field("basic_auth", &self.basic_auth)
            .field("all_branches", &self.all_branches)
            .field("bearer_token", &self.bearer_token)
            .field("insecure", &self.insecure)
            .field("ca_ref", &self.ca_ref)
            .field("extra", &self.extra)
            .finish()
    }
}

impl fmt::Debug for ScmGitea {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScmGitea")
            .field("owner", &self.owner)
            .field("api", &redact_url(&self.api))
            .field("token_ref", &self.token_ref)
            .field("all_branches", &self.all_branches)
            .field("insecure", &self.insecure)
            .field("extra", &self.extra)
            .finish()
    }
}

impl fmt::Debug for ScmAzureDevOps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScmAzureDevOps")
            .field("organization", &self.organization)
            .field("api", &self.api.as_deref().map(redact_url))
            .field("team_project", &self.team_project)
            .field("access_token_ref", &self.access_token_ref)
            .field("all_branches", &self.all_branches)
            .field("extra", &self.extra)
            .finish()
    }
}
