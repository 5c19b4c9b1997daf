//! How to reach a running cluster. Plain data: the process that uses it need not be the one that started the servers.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::components::program;
use crate::process::run;

/// The name of the user with all rights.
pub const ADMIN: &str = "admin";

/// Users without any right of their own; tests bind roles to them.
pub const USERS: [&str; 4] = ["alice", "bob", "carol", "dave"];

/// Where an API server listens, and who may talk to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cluster {
    /// The URL of the API server.
    pub server: String,
    /// The certificate that signs the API server's own, in PEM.
    pub ca: String,
    /// [`ADMIN`] (in group `system:masters`) and [`USERS`].
    pub users: Vec<User>,
    /// The folder of the generated kubeconfig files.
    pub dir: PathBuf,
    /// The API server's audit log: one JSON event per request, without bodies.
    pub audit_log: PathBuf,
    /// Whether the controller-manager runs.
    pub controllers: bool,
}

/// Somebody the API server knows.
#[derive(Clone, Serialize, Deserialize)]
pub struct User {
    /// The user's name.
    pub name: String,
    /// The groups, besides `system:authenticated`.
    pub groups: Vec<String>,
    /// The bearer token.
    pub token: String,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let User {
            name,
            groups,
            token: _,
        } = self;
        f.debug_struct("User")
            .field("name", name)
            .field("groups", groups)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// The kubeconfig file of the administrator, for programs that want a path. It has a context for every user, named as the user.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig_of(ADMIN)
    }

    /// The kubeconfig file whose current context is the given user's.
    #[must_use]
    pub fn kubeconfig_of(&self, user: &str) -> PathBuf {
        self.dir.join(format!("{user}.kubeconfig"))
    }

    /// Runs kubectl as the administrator and returns its standard output.
    ///
    /// # Errors
    ///
    /// When kubectl is not built or fails; the message has its standard error.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.kubectl_as(ADMIN, args).await
    }

    /// Runs kubectl as a user and returns its standard output.
    ///
    /// # Errors
    ///
    /// As [`Cluster::kubectl`].
    pub async fn kubectl_as(&self, user: &str, args: &[&str]) -> Result<String> {
        let mut command = tokio::process::Command::new(program("kubectl")?);
        // No cache of discovery: clusters of different runs share ports.
        command
            .arg("--kubeconfig")
            .arg(self.kubeconfig_of(user))
            .arg("--cache-dir")
            .arg(self.dir.join("kubectl-cache"))
            .args(args);
        run(&mut command).await
    }

    /// Whether the API server says that it is ready.
    pub async fn is_ready(&self) -> bool {
        self.kubectl(&["get", "--raw=/readyz", "--request-timeout=2s"])
            .await
            .is_ok()
    }

    /// The events of the audit log so far, oldest first: who (`user.username`, `userAgent`) asked what (`verb`, `requestURI`,
    /// `objectRef`), with which result (`responseStatus.code`). Only completed requests; long ones (watches, logs) when they end.
    ///
    /// # Errors
    ///
    /// When the log cannot be read.
    pub async fn audit_events(&self) -> Result<Vec<Value>> {
        let text = tokio::fs::read_to_string(&self.audit_log)
            .await
            .with_context(|| format!("cannot read {}", self.audit_log.display()))?;
        // The last line may be half written.
        Ok(text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect())
    }

    pub(crate) fn write_kubeconfigs(&self) -> Result<()> {
        for current in &self.users {
            let users: Vec<_> = self
                .users
                .iter()
                .map(|u| json!({"name": u.name, "user": {"token": u.token}}))
                .collect();
            let contexts: Vec<_> = self
                .users
                .iter()
                .map(|u| json!({"name": u.name, "context": {"cluster": "e2e", "user": u.name}}))
                .collect();
            let ca = base64::engine::general_purpose::STANDARD.encode(&self.ca);
            let config = json!({
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "e2e", "cluster": {"server": self.server, "certificate-authority-data": ca}}],
                "users": users,
                "contexts": contexts,
                "current-context": current.name,
            });
            // JSON is YAML too.
            let text = serde_json::to_string_pretty(&config).context("kubeconfig")?;
            std::fs::write(self.kubeconfig_of(&current.name), text)
                .context("cannot write the kubeconfig")?;
        }
        Ok(())
    }

    /// Writes a kubeconfig with which a program acts as a service account, as it would in a pod of that account's namespace.
    pub(crate) async fn write_account_kubeconfig(
        &self,
        namespace: &str,
        account: &str,
        file: &Path,
    ) -> Result<()> {
        let token = self
            .kubectl(&[
                "create",
                "token",
                account,
                "--namespace",
                namespace,
                "--duration=24h",
            ])
            .await?;
        let ca = base64::engine::general_purpose::STANDARD.encode(&self.ca);
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "e2e", "cluster": {"server": self.server, "certificate-authority-data": ca}}],
            "users": [{"name": account, "user": {"token": token.trim()}}],
            "contexts": [{
                "name": account,
                // Programs take theirs for the namespace that they are in.
                "context": {"cluster": "e2e", "user": account, "namespace": namespace},
            }],
            "current-context": account,
        });
        std::fs::write(file, config.to_string()).context("cannot write a kubeconfig")
    }
}
