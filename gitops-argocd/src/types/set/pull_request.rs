//! The generator that lists pull requests.

use std::collections::BTreeMap;
use std::fmt;

use gitops_core::error::redact_url;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::super::extra::{Extra, Hidden};
use super::credentials::{BasicAuth, BearerToken, ConfigMapKeyRef, SecretRef};
use super::template::SetTemplate;

/// `pullRequest`: parameters from open pull requests.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PullRequestGenerator {
    /// GitHub.
    pub github: Option<PullRequestGithub>,
    /// GitLab.
    pub gitlab: Option<PullRequestGitlab>,
    /// Gitea.
    pub gitea: Option<PullRequestGitea>,
    /// Bitbucket Server.
    pub bitbucket_server: Option<PullRequestBitbucketServer>,
    /// Which pull requests: those that one of these takes; all by default.
    pub filters: Option<Vec<PullRequestFilter>>,
    /// How often it looks; every 30 minutes by default.
    pub requeue_after_seconds: Option<i64>,
    /// Put over the set's own template.
    pub template: Option<Box<SetTemplate>>,
    /// Bitbucket Cloud.
    pub bitbucket: Option<PullRequestBitbucket>,
    /// Azure DevOps.
    pub azuredevops: Option<PullRequestAzureDevOps>,
    /// More parameters, under `values`.
    pub values: Option<BTreeMap<String, String>>,
    /// A repository that is not there has no pull requests, instead of being an error.
    pub continue_on_repo_not_found_error: Option<bool>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `github`.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PullRequestGithub {
    /// The organisation, or the user.
    pub owner: String,
    /// The repository.
    pub repo: String,
    /// The API's URL; `https://api.github.com/` by default.
    pub api: Option<String>,
    /// Where the token is; public repositories need none.
    pub token_ref: Option<SecretRef>,
    /// The `Secret` of a GitHub App, instead of a token.
    pub app_secret_name: Option<String>,
    /// Only those that have all of these labels.
    pub labels: Option<Vec<String>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `gitlab`.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PullRequestGitlab {
    /// The project, by its number or its path.
    pub project: String,
    /// The API's URL; `https://gitlab.com/` by default.
    pub api: Option<String>,
    /// Where the token is; public repositories need none.
    pub token_ref: Option<SecretRef>,
    /// Only those that have all of these labels.
    pub labels: Option<Vec<String>>,
    /// `opened`, `closed`, `merged`, `locked`; all by default.
    pub pull_request_state: Option<String>,
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
pub struct PullRequestGitea {
    /// The organisation, or the user.
    pub owner: String,
    /// The repository.
    pub repo: String,
    /// The API's URL.
    pub api: String,
    /// Where the token is; public repositories need none.
    pub token_ref: Option<SecretRef>,
    /// Do not check the server's certificate.
    pub insecure: Option<bool>,
    /// Only those that have all of these labels.
    pub labels: Option<Vec<String>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `bitbucketServer`.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PullRequestBitbucketServer {
    /// The project.
    pub project: String,
    /// The repository.
    pub repo: String,
    /// The API's URL.
    pub api: String,
    /// A user and a password.
    pub basic_auth: Option<BasicAuth>,
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

/// `bitbucket`.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PullRequestBitbucket {
    /// The workspace.
    pub owner: String,
    /// The repository.
    pub repo: String,
    /// The API's URL; `https://api.bitbucket.org/2.0` by default.
    pub api: Option<String>,
    /// A user and a password.
    pub basic_auth: Option<BasicAuth>,
    /// A token, instead.
    pub bearer_token: Option<BearerToken>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// `azuredevops`.
#[skip_serializing_none]
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PullRequestAzureDevOps {
    /// The organisation.
    pub organization: String,
    /// The project.
    pub project: String,
    /// The repository.
    pub repo: String,
    /// The API's URL; `https://dev.azure.com/` by default.
    pub api: Option<String>,
    /// Where the token is; public repositories need none.
    pub token_ref: Option<SecretRef>,
    /// Only those that have all of these labels.
    pub labels: Option<Vec<String>>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

/// One of `filters`: all that is set must hold.
#[skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PullRequestFilter {
    /// A regular expression for the branch.
    pub branch_match: Option<String>,
    /// A regular expression for the branch it is to be merged into.
    pub target_branch_match: Option<String>,
    /// A regular expression for the title.
    pub title_match: Option<String>,
    /// What is not known here.
    #[serde(flatten)]
    pub extra: Extra,
}

// URLs may hold credentials, and parameters may be secrets.

impl fmt::Debug for PullRequestGenerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullRequestGenerator")
            .field("github", &self.github)
            .field("gitlab", &self.gitlab)
            .field("gitea", &self.gitea)
            .field("bitbucket_server", &self.bitbucket_server)
            .field("filters", &self.filters)
            .field("requeue_after_seconds", &self.requeue_after_seconds)
            .field("template", &self.template)
            .field("bitbucket", &self.bitbucket)
            .field("azuredevops", &self.azuredevops)
            .field("values", &Hidden::keys(&self.values))
            .field(
                "continue_on_repo_not_found_error",
                &self.continue_on_repo_not_found_error,
            )
            .field("extra", &self.extra)
            .finish()
    }
}

impl fmt::Debug for PullRequestGithub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullRequestGithub")
            .field("owner", &self.owner)
            .field("repo", &self.repo)
            .field("api", &self.api.as_deref().map(redact_url))
            .field("token_ref", &self.token_ref)
            .field("app_secret_name", &self.app_secret_name)
            .field("labels", &self.labels)
            .field("extra", &self.extra)
            .finish()
    }
}

impl fmt::Debug for PullRequestGitlab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullRequestGitlab")
            .field("project", &self.project)
            .field("api", &self.api.as_deref().map(redact_url))
            .field("token_ref", &self.token_ref)
            .field("labels", &self.labels)
            .field("pull_request_state", &self.pull_request_state)
            .field("insecure", &self.insecure)
            .field("ca_ref", &self.ca_ref)
            .field("extra", &self.extra)
            .finish()
    }
}

impl fmt::Debug for PullRequestGitea {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullRequestGitea")
            .field("owner", &self.owner)
            .field("repo", &self.repo)
            .field("api", &redact_url(&self.api))
            .field("token_ref", &self.token_ref)
            .field("insecure", &self.insecure)
            .field("labels", &self.labels)
            .field("extra", &self.extra)
            .finish()
    }
}

impl fmt::Debug for PullRequestBitbucketServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullRequestBitbucketServer")
            .field("project", &self.project)
            .field("repo", &self.repo)
            .field("api", &redact_url(&self.api))
            .field("basic_auth", &self.basic_auth)
            .field("bearer_token", &self.bearer_token)
            .field("insecure", &self.insecure)
            .field("ca_ref", &self.ca_ref)
            .field("extra", &self.extra)
            .finish()
    }
}

impl fmt::Debug for PullRequestBitbucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullRequestBitbucket")
            .field("owner", &self.owner)
            .field("repo", &self.repo)
            .field("api", &self.api.as_deref().map(redact_url))
            .field("basic_auth", &self.basic_auth)
            .field("bearer_token", &self.bearer_token)
            .field("extra", &self.extra)
            .finish()
    }
}

impl fmt::Debug for PullRequestAzureDevOps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullRequestAzureDevOps")
            .field("organization", &self.organization)
            .field("project", &self.project)
            .field("repo", &self.repo)
            .field("api", &self.api.as_deref().map(redact_url))
            .field("token_ref", &self.token_ref)
            .field("labels", &self.labels)
            .field("extra", &self.extra)
            .finish()
    }
}
