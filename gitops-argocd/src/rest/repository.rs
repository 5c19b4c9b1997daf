//! Repositories, credential templates, certificates and keys.

use gitops_core::{Error, Result};
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ArgoCd;
use super::model::{
    AppDetails, Certificate, GpgKey, HelmChart, Items, Refs, RepoApp, RepoCredentials, Repository,
};
use crate::types::Source;

/// Which kind of use: Argo CD keeps credentials that write (for rendered manifests) apart from those that read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Clones and charts.
    #[default]
    Read,
    /// Pushes of rendered manifests (argo-cd 3.0, source hydrator).
    Write,
}

impl Access {
    fn repositories(self) -> &'static str {
        match self {
            Self::Read => "repositories",
            Self::Write => "write-repositories",
        }
    }

    fn credentials(self) -> &'static str {
        match self {
            Self::Read => "repocreds",
            Self::Write => "write-repocreds",
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CreatedKeys {
    created: Option<Items<GpgKey>>,
    skipped: Option<Vec<String>>,
}

impl ArgoCd {
    /// The repositories that the caller may see, with the state of the connection, without secrets (`argocd repo list`).
    ///
    /// # Errors
    /// `Unauthenticated`.
    pub async fn list_repositories(
        &self,
        access: Access,
        force_refresh: bool,
    ) -> Result<Vec<Repository>> {
        let items: Items<Repository> = self
            .get_call([access.repositories()], "list repositories")
            .query_some("forceRefresh", force_refresh.then_some(true))
            .json()
            .await?;
        Ok(items.items.unwrap_or_default())
    }

    /// A repository (`argocd repo get`); `project` for one of a project.
    ///
    /// # Errors
    /// `PermissionDenied`, also when there is no such repository.
    pub async fn get_repository(
        &self,
        access: Access,
        url: &str,
        project: Option<&str>,
    ) -> Result<Repository> {
        self.get_call([access.repositories(), url], "get a repository")
            .query_some("appProject", project)
            .json()
            .await
    }

    /// Registers a repository; the server first tries to reach it (`argocd repo add`). With `credentials_only` it takes what is secret and leaves the rest to what is known.
    ///
    /// # Errors
    /// `AlreadyExists` for one that is there and different, without `upsert`; `Internal` when it cannot be reached or refuses the credentials: Argo CD tells that only in the
    /// message; `PermissionDenied`.
    pub async fn create_repository(
        &self,
        access: Access,
        repository: &Repository,
        upsert: bool,
        credentials_only: bool,
    ) -> Result<Repository> {
        self.call(
            Method::POST,
            [access.repositories()],
            "register a repository",
        )
        .query_some("upsert", upsert.then_some(true))
        .query_some("credsOnly", credentials_only.then_some(true))
        .body(repository)?
        .json()
        .await
    }

    /// Replaces a repository's settings.
    ///
    /// # Errors
    /// As [`create_repository`](Self::create_repository), and `NotFound`.
    pub async fn update_repository(
        &self,
        access: Access,
        repository: &Repository,
    ) -> Result<Repository> {
        self.call(
            Method::PUT,
            [access.repositories(), &repository.repo],
            "update a repository",
        )
        .body(repository)?
        .json()
        .await
    }

    /// Forgets a repository (`argocd repo rm`).
    ///
    /// # Errors
    /// `PermissionDenied`, also when there is no such repository.
    pub async fn delete_repository(
        &self,
        access: Access,
        url: &str,
        project: Option<&str>,
    ) -> Result<()> {
        self.call(
            Method::DELETE,
            [access.repositories(), url],
            "forget a repository",
        )
        .query_some("appProject", project)
        .json::<Value>()
        .await
        .map(drop)
    }

    /// Whether the server can reach a repository with these settings; nothing is stored. Secrets are sent in the query, as the API wants it: use TLS.
    ///
    /// argo-cd 3.2 does not unescape the URL in this one call's path, and so refuses every URL over REST. [`create_repository`](Self::create_repository) tries
    /// the repository, too, before it is stored.
    ///
    /// # Errors
    /// What the server says when it cannot: `Internal` for most causes, as it gives no code for them.
    pub async fn validate_repository(&self, access: Access, repository: &Repository) -> Result<()> {
        let secret = |secret: &Option<gitops_core::SecretString>| {
            secret.as_ref().map(|secret| secret.expose().to_owned())
        };
        self.call(
            Method::POST,
            [access.repositories(), &repository.repo, "validate"],
            "try a repository",
        )
        .query_some("username", repository.username.as_deref())
        .query_some("password", secret(&repository.password))
        .query_some("sshPrivateKey", secret(&repository.ssh_private_key))
        .query_some("insecure", repository.insecure)
        .query_some(
            "tlsClientCertData",
            secret(&repository.tls_client_cert_data),
        )
        .query_some("tlsClientCertKey", secret(&repository.tls_client_cert_key))
        .query_some("type", repository.kind.as_deref())
        .query_some("name", repository.name.as_deref())
        .query_some("enableOci", repository.enable_oci)
        .query_some(
            "githubAppPrivateKey",
            secret(&repository.github_app_private_key),
        )
        .query_some("githubAppID", repository.github_app_id)
        .query_some(
            "githubAppInstallationID",
            repository.github_app_installation_id,
        )
        .query_some(
            "githubAppEnterpriseBaseUrl",
            repository.github_app_enterprise_base_url.as_deref(),
        )
        .query_some("proxy", repository.proxy.as_deref())
        .query_some("project", repository.project.as_deref())
        .query_some(
            "gcpServiceAccountKey",
            secret(&repository.gcp_service_account_key),
        )
        .query_some("forceHttpBasicAuth", repository.force_http_basic_auth)
        .query_some(
            "useAzureWorkloadIdentity",
            repository.use_azure_workload_identity,
        )
        .query_some("bearerToken", secret(&repository.bearer_token))
        .query_some("insecureOciForceHttp", repository.insecure_oci_force_http)
        .body(&repository.repo)?
        .json::<Value>()
        .await
        .map(drop)
    }

    /// Branches and tags of a Git repository.
    ///
    /// # Errors
    /// `NotFound`, and what reading the repository meets.
    pub async fn repository_refs(&self, url: &str, project: Option<&str>) -> Result<Refs> {
        self.get_call(["repositories", url, "refs"], "list references")
            .query_some("appProject", project)
            .json()
            .await
    }

    /// Tags of an OCI repository.
    ///
    /// # Errors
    /// As [`repository_refs`](Self::repository_refs).
    pub async fn repository_oci_tags(&self, url: &str, project: Option<&str>) -> Result<Refs> {
        self.get_call(["repositories", url, "oci-tags"], "list tags")
            .query_some("appProject", project)
            .json()
            .await
    }

    /// Paths of a Git repository that look like applications.
    ///
    /// # Errors
    /// As [`repository_refs`](Self::repository_refs).
    pub async fn repository_apps(
        &self,
        url: &str,
        revision: &str,
        app: &str,
        project: Option<&str>,
    ) -> Result<Vec<RepoApp>> {
        let items: Items<RepoApp> = self
            .get_call(["repositories", url, "apps"], "find applications")
            .query_text("revision", revision)
            .query_text("appName", app)
            .query_some("appProject", project)
            .json()
            .await?;
        Ok(items.items.unwrap_or_default())
    }

    /// The charts of a Helm repository.
    ///
    /// # Errors
    /// As [`repository_refs`](Self::repository_refs).
    pub async fn repository_charts(
        &self,
        url: &str,
        project: Option<&str>,
    ) -> Result<Vec<HelmChart>> {
        let items: Items<HelmChart> = self
            .get_call(["repositories", url, "helmcharts"], "list charts")
            .query_some("appProject", project)
            .json()
            .await?;
        Ok(items.items.unwrap_or_default())
    }

    /// What kind of source it is, with its parameters and images.
    ///
    /// # Errors
    /// As [`repository_refs`](Self::repository_refs).
    pub async fn app_details(
        &self,
        source: &Source,
        app: &str,
        project: &str,
    ) -> Result<AppDetails> {
        self.call(
            Method::POST,
            ["repositories", &source.repo_url, "appdetails"],
            "describe a source",
        )
        .body(&json!({"source": source, "appName": app, "appProject": project}))?
        .json()
        .await
    }

    /// Credential templates: for all repositories below a URL, without secrets (`argocd repocreds list`).
    ///
    /// # Errors
    /// `Unauthenticated`.
    pub async fn list_repository_credentials(
        &self,
        access: Access,
    ) -> Result<Vec<RepoCredentials>> {
        let items: Items<RepoCredentials> = self
            .get_call([access.credentials()], "list credential templates")
            .json()
            .await?;
        Ok(items.items.unwrap_or_default())
    }

    /// Makes a credential template (`argocd repocreds add`).
    ///
    /// # Errors
    /// `AlreadyExists` for one that is there and different, without `upsert`; `PermissionDenied`.
    pub async fn create_repository_credentials(
        &self,
        access: Access,
        credentials: &RepoCredentials,
        upsert: bool,
    ) -> Result<RepoCredentials> {
        self.call(
            Method::POST,
            [access.credentials()],
            "make a credential template",
        )
        .query_some("upsert", upsert.then_some(true))
        .body(credentials)?
        .json()
        .await
    }

    /// Replaces a credential template. (`PUT` takes the URL in its path as it is escaped, argo-cd 3.2, and finds none: this creates it in place of the one that is there.)
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`.
    pub async fn update_repository_credentials(
        &self,
        access: Access,
        credentials: &RepoCredentials,
    ) -> Result<RepoCredentials> {
        let there = self.list_repository_credentials(access).await?;
        if !there.iter().any(|one| one.url == credentials.url) {
            return Err(Error::not_found("there is no such credential template")
                .context("update a credential template"));
        }
        self.create_repository_credentials(access, credentials, true)
            .await
    }

    /// Forgets a credential template (`argocd repocreds rm`).
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`.
    pub async fn delete_repository_credentials(&self, access: Access, url: &str) -> Result<()> {
        self.call(
            Method::DELETE,
            [access.credentials(), url],
            "forget a credential template",
        )
        .json::<Value>()
        .await
        .map(drop)
    }

    /// TLS certificates and SSH host keys that the server trusts (`argocd cert list`).
    ///
    /// # Errors
    /// `Unauthenticated`.
    pub async fn list_certificates(&self) -> Result<Vec<Certificate>> {
        let items: Items<Certificate> = self
            .get_call(["certificates"], "list certificates")
            .json()
            .await?;
        Ok(items.items.unwrap_or_default())
    }

    /// Adds certificates and host keys (`argocd cert add-tls`, `add-ssh`); gives those that were new.
    ///
    /// # Errors
    /// `AlreadyExists` without `upsert`; `PermissionDenied`.
    pub async fn create_certificates(
        &self,
        certificates: &[Certificate],
        upsert: bool,
    ) -> Result<Vec<Certificate>> {
        let items: Items<Certificate> = self
            .call(Method::POST, ["certificates"], "add certificates")
            .query_some("upsert", upsert.then_some(true))
            .body(&json!({"items": certificates}))?
            .json()
            .await?;
        Ok(items.items.unwrap_or_default())
    }

    /// Removes the certificates of a host, of one type (`https`, `ssh`) and subtype where they are named (`argocd cert rm`); gives those that are gone.
    ///
    /// # Errors
    /// `InvalidInput` for an empty host: it would mean all of them; `PermissionDenied`.
    pub async fn delete_certificates(
        &self,
        host: &str,
        kind: &str,
        subtype: &str,
    ) -> Result<Vec<Certificate>> {
        if host.is_empty() {
            return Err(Error::invalid("no host is named"));
        }
        let items: Items<Certificate> = self
            .call(Method::DELETE, ["certificates"], "remove certificates")
            .query("hostNamePattern", host)
            .query_text("certType", kind)
            .query_text("certSubType", subtype)
            .json()
            .await?;
        Ok(items.items.unwrap_or_default())
    }

    /// The GnuPG keys whose signatures the server takes (`argocd gpg list`).
    ///
    /// # Errors
    /// `Unauthenticated`.
    pub async fn list_gpg_keys(&self) -> Result<Vec<GpgKey>> {
        let items: Items<GpgKey> = self.get_call(["gpgkeys"], "list keys").json().await?;
        Ok(items.items.unwrap_or_default())
    }

    /// A GnuPG key (`argocd gpg get`).
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_gpg_key(&self, id: &str) -> Result<GpgKey> {
        self.get_call(["gpgkeys", id], format!("get key {id}"))
            .json()
            .await
    }

    /// Adds armoured public keys (`argocd gpg add`); gives those that were new, and the ids of those that were not.
    ///
    /// # Errors
    /// `InvalidInput` for what is no key; `PermissionDenied`.
    pub async fn create_gpg_keys(&self, armoured: &str) -> Result<(Vec<GpgKey>, Vec<String>)> {
        let answer: CreatedKeys = self
            .call(Method::POST, ["gpgkeys"], "add keys")
            .body(&json!({"keyData": armoured}))?
            .json()
            .await?;
        Ok((
            answer
                .created
                .and_then(|keys| keys.items)
                .unwrap_or_default(),
            answer.skipped.unwrap_or_default(),
        ))
    }

    /// Removes a GnuPG key (`argocd gpg rm`).
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`; `InvalidInput` for an empty id.
    pub async fn delete_gpg_key(&self, id: &str) -> Result<()> {
        if id.is_empty() {
            return Err(Error::invalid("no key is named"));
        }
        self.call(Method::DELETE, ["gpgkeys"], format!("remove key {id}"))
            .query("keyID", id)
            .json::<Value>()
            .await
            .map(drop)
    }
}
