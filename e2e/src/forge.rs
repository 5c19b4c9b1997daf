//! Gitea's REST API, as far as tests need it.

use anyhow::{Context, Result, bail};
use reqwest::Method;
use serde_json::{Value, json};

use crate::gitea::Gitea;
use crate::random_hex;

/// A repository in a Gitea.
#[derive(Debug, Clone)]
pub struct Repository {
    /// The owner's name.
    pub owner: String,
    /// The repository's name.
    pub name: String,
    /// The URL to clone over HTTP, without credentials.
    pub http_url: String,
    /// The URL to clone over SSH.
    pub ssh_url: String,
}

impl Gitea {
    /// One request to the REST API as the administrator; `path` begins after `/api/v1`.
    ///
    /// # Errors
    ///
    /// When Gitea cannot be reached or answers with an error; the message has its answer.
    pub async fn api(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        crate::init();
        let url = format!("{}/api/v1{path}", self.url);
        let mut builder = reqwest::Client::builder().no_proxy();
        if let Some(ca) = &self.ca {
            let pem = std::fs::read(ca).context("cannot read Gitea's certificate")?;
            let certificate = reqwest::Certificate::from_pem(&pem).context("not a certificate")?;
            builder = builder.tls_certs_only([certificate]);
        }
        let client = builder.build().context("cannot make an HTTP client")?;
        let mut request = client
            .request(method.clone(), &url)
            .basic_auth(&self.user, Some(&self.password));
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request
            .send()
            .await
            .with_context(|| format!("{method} {path}"))?;
        let status = response.status();
        let text = response
            .text()
            .await
            .with_context(|| format!("{method} {path}"))?;
        if !status.is_success() {
            bail!("{method} {path}: {status}: {text}");
        }
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).with_context(|| format!("{method} {path}: not JSON"))
    }

    /// Makes an empty private repository with a new name that begins with `prefix`; its default branch is `main`.
    ///
    /// # Errors
    ///
    /// When Gitea refuses.
    pub async fn repository(&self, prefix: &str) -> Result<Repository> {
        let name = format!("{prefix}-{}", random_hex(4)?);
        let body = json!({"name": name, "private": true, "default_branch": "main"});
        self.api(Method::POST, "/user/repos", Some(&body)).await?;
        Ok(Repository {
            http_url: format!("{}/{}/{name}.git", self.url, self.user),
            ssh_url: format!(
                "ssh://{}@127.0.0.1:{}/{}/{name}.git",
                self.ssh_user, self.ssh_port, self.user
            ),
            owner: self.user.clone(),
            name,
        })
    }

    /// Commits files onto `main` of a repository through the API, without a clone; returns the commit's id. Existing files
    /// are replaced.
    ///
    /// # Errors
    ///
    /// When Gitea refuses.
    pub async fn commit(
        &self,
        repository: &Repository,
        message: &str,
        files: &[(&str, &str)],
    ) -> Result<String> {
        use base64::Engine as _;
        let mut changes = Vec::new();
        for (path, content) in files {
            let known = format!(
                "/repos/{}/{}/contents/{path}?ref=main",
                repository.owner, repository.name
            );
            let mut change = json!({"path": path, "content": base64::engine::general_purpose::STANDARD.encode(content)});
            // An empty repository has no `main` to look into: the file cannot exist there either.
            match self.api(Method::GET, &known, None).await {
                Ok(file) => {
                    change["operation"] = json!("update");
                    change["sha"] = file["sha"].clone();
                }
                Err(_) => change["operation"] = json!("create"),
            }
            changes.push(change);
        }
        let body = json!({"message": message, "branch": "main", "files": changes});
        let path = format!("/repos/{}/{}/contents", repository.owner, repository.name);
        let answer = self.api(Method::POST, &path, Some(&body)).await?;
        answer["commit"]["sha"]
            .as_str()
            .map(str::to_owned)
            .context("Gitea named no commit")
    }

    /// Makes an access token of the administrator with the given scopes, for example `write:repository`.
    ///
    /// # Errors
    ///
    /// When Gitea refuses.
    pub async fn token(&self, scopes: &[&str]) -> Result<String> {
        let body = json!({"name": random_hex(8)?, "scopes": scopes});
        let answer = self
            .api(
                Method::POST,
                &format!("/users/{}/tokens", self.user),
                Some(&body),
            )
            .await?;
        answer["sha1"]
            .as_str()
            .map(str::to_owned)
            .context("Gitea gave no token")
    }

    /// Makes another user, without any right; returns the password.
    ///
    /// # Errors
    ///
    /// When Gitea refuses, as it does when the name is taken.
    pub async fn add_user(&self, name: &str) -> Result<String> {
        let password = random_hex(16)?;
        let body = json!({
            "username": name,
            "password": password,
            "email": format!("{name}@example.com"),
            "must_change_password": false,
        });
        self.api(Method::POST, "/admin/users", Some(&body)).await?;
        Ok(password)
    }

    /// Lets a public key (one line, as in `authorized_keys`) act as the administrator over SSH.
    ///
    /// # Errors
    ///
    /// When Gitea refuses.
    pub async fn add_ssh_key(&self, public_key: &str) -> Result<()> {
        let body = json!({"title": random_hex(8)?, "key": public_key.trim()});
        self.api(Method::POST, "/user/keys", Some(&body))
            .await
            .map(drop)
    }

    /// Adds a key that may use only one repository, and write to it unless `read_only`.
    ///
    /// # Errors
    ///
    /// When Gitea refuses.
    pub async fn add_deploy_key(
        &self,
        repository: &Repository,
        public_key: &str,
        read_only: bool,
    ) -> Result<()> {
        let body =
            json!({"title": random_hex(8)?, "key": public_key.trim(), "read_only": read_only});
        let path = format!("/repos/{}/{}/keys", repository.owner, repository.name);
        self.api(Method::POST, &path, Some(&body)).await.map(drop)
    }

    /// Protects a branch. `rules` are fields of Gitea's `CreateBranchProtectionOption`, for example `{"enable_push": false}`.
    ///
    /// # Errors
    ///
    /// When Gitea refuses.
    pub async fn protect_branch(
        &self,
        repository: &Repository,
        branch: &str,
        rules: &Value,
    ) -> Result<()> {
        let mut body = json!({"rule_name": branch});
        if let (Some(body), Some(rules)) = (body.as_object_mut(), rules.as_object()) {
            body.extend(rules.clone());
        }
        let path = format!(
            "/repos/{}/{}/branch_protections",
            repository.owner, repository.name
        );
        self.api(Method::POST, &path, Some(&body)).await.map(drop)
    }

    /// The HTTP(S) URL of a repository with the administrator's credentials in it; for plain `git` in tests, not for logs.
    #[must_use]
    pub fn url_with_password(&self, repository: &Repository) -> String {
        let (scheme, rest) = repository
            .http_url
            .split_once("://")
            .unwrap_or(("http", &repository.http_url));
        format!("{scheme}://{}:{}@{rest}", self.user, self.password)
    }

    /// The value for `GIT_SSH_COMMAND` that uses a private key and knows Gitea's host key.
    #[must_use]
    pub fn ssh_command(&self, private_key: &std::path::Path) -> String {
        format!(
            "ssh -F none -i '{}' -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile='{}'",
            private_key.display(),
            self.known_hosts.display()
        )
    }
}
