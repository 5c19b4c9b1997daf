//! Flux, kept by itself in a Git repository: `flux bootstrap git`.
//!
//! ```text
//! <path>/flux-system/gotk-components.yaml   what the caller gives: Flux's own manifests
//! <path>/flux-system/gotk-sync.yaml         a GitRepository of the repository, a Kustomization of <path>
//! <path>/flux-system/kustomization.yaml     both of them; one that is there stays, and may patch them
//! ```
//!
//! The steps are those of flux 2.7 (`pkg/bootstrap`): the files are committed and pushed; Flux's manifests are applied unless Flux keeps itself already; the Secret is made; the
//! two objects are applied; and all is waited for. Unlike the command it makes one commit, and none when the files are there already. Where Flux's manifests come from is the caller's business:
//! `flux install --export`, a release's `manifests.tar.gz`, a copy with other images.
//!
//! Objects are applied as kustomize-controller applies them, with its name and labels, so that nothing stays behind when it takes over.

mod files;
mod install;

use std::fmt;
use std::time::Duration;

use gitops_core::manifest::render::KustomizeRenderer;
use gitops_core::manifest::{Object, yaml};
use gitops_core::{Error, ErrorKind, Result, ResultExt as _};
use gitops_git::{CommitOptions, CommitOutcome, Repository};

use crate::convert::has_credentials;
use crate::kind::{FluxKind, FluxResource as _};
use crate::manager::{FluxManager, FluxRef};
use crate::reconcile::{ReconcileOptions, Reconciled, WaitOptions};
use crate::secret::FluxSecret;
use crate::types::{GitRepository, GoDuration, Kustomization};

/// What to bootstrap, and where.
#[derive(Clone)]
pub struct BootstrapOptions {
    /// The URL as source-controller reaches the repository; the program's own may be another. It is committed: credentials belong into [`secret`](Self::secret), and only SSH's has a user.
    pub url: String,
    /// The branch (`main`). It must exist, unless the repository is empty.
    pub branch: String,
    /// The cluster's directory in the repository (`clusters/production`); empty is its root.
    pub path: String,
    /// The namespace of Flux and of the objects (`flux-system`).
    pub namespace: String,
    /// The name of the GitRepository and of the Kustomization (`flux-system`).
    pub name: String,
    /// Flux's own manifests, for `gotk-components.yaml`.
    pub components: Vec<u8>,
    /// What they are, for the commit's message (`v2.7.5`); may be empty.
    pub version: String,
    /// How often the repository is looked at (one minute).
    pub interval: Duration,
    /// Whether submodules are checked out.
    pub recurse_submodules: bool,
    /// The credentials: the Secret is made, and the GitRepository refers to it. Its namespace is made to be [`namespace`](Self::namespace).
    pub secret: Option<FluxSecret>,
    /// Without [`secret`](Self::secret): the name of one that is there, or comes from elsewhere.
    pub secret_name: Option<String>,
    /// The author's name and mail address (`Flux`).
    pub author: (String, String),
    /// Builds a `kustomization.yaml` that was there before, with its patches; not needed for the one that is made here.
    pub kustomize: KustomizeRenderer,
    /// What is added to the commit's message.
    pub message_appendix: String,
    /// How long the two objects, and then Flux's Deployments, may take to be ready (five minutes each).
    pub timeout: Duration,
    /// Whether to wait for the Deployments among Flux's manifests.
    pub wait_for_components: bool,
}

impl fmt::Debug for BootstrapOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BootstrapOptions")
            .field("url", &gitops_core::error::redact_url(&self.url))
            .field("branch", &self.branch)
            .field("path", &self.path)
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .field("components", &self.components.len())
            .field("version", &self.version)
            .field("secret", &self.secret)
            .finish_non_exhaustive()
    }
}

impl BootstrapOptions {
    /// Flux in `flux-system`, from the branch `main`.
    pub fn new(
        url: impl Into<String>,
        path: impl Into<String>,
        components: impl Into<Vec<u8>>,
    ) -> Self {
        Self {
            url: url.into(),
            branch: "main".to_owned(),
            path: path.into(),
            namespace: "flux-system".to_owned(),
            name: "flux-system".to_owned(),
            components: components.into(),
            version: String::new(),
            interval: Duration::from_secs(60),
            recurse_submodules: false,
            secret: None,
            secret_name: None,
            author: ("Flux".to_owned(), String::new()),
            kustomize: KustomizeRenderer::default(),
            message_appendix: String::new(),
            timeout: Duration::from_secs(300),
            wait_for_components: true,
        }
    }

    /// From another branch.
    #[must_use]
    pub fn branch(mut self, branch: impl Into<String>) -> Self {
        self.branch = branch.into();
        self
    }

    /// With credentials, which are made in the cluster.
    #[must_use]
    pub fn secret(mut self, secret: FluxSecret) -> Self {
        self.secret = Some(secret);
        self
    }

    /// Into another namespace, whose name the objects have too.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self.name.clone_from(&self.namespace);
        self
    }

    fn secret_ref(&self) -> Option<&str> {
        self.secret
            .as_ref()
            .map(|secret| secret.name.as_str())
            .or(self.secret_name.as_deref())
    }

    /// `./clusters/production`, as the Kustomization names it.
    fn kustomization_path(&self) -> String {
        let path = self.path.trim_start_matches("./").trim_matches('/');
        format!("./{path}")
    }

    /// The two objects of `gotk-sync.yaml`.
    fn sync(&self) -> (GitRepository, Kustomization) {
        let mut repository = GitRepository::new(&self.name)
            .in_namespace(&self.namespace)
            .url(&self.url)
            .branch(&self.branch)
            .interval(self.interval);
        if let Some(secret) = self.secret_ref() {
            repository = repository.secret(secret);
        }
        if self.recurse_submodules {
            repository.spec.recurse_submodules = Some(true);
        }
        let mut kustomization = Kustomization::new(&self.name).in_namespace(&self.namespace);
        let spec = &mut kustomization.spec;
        spec.interval = Some(GoDuration::new("10m0s"));
        spec.path = Some(self.kustomization_path());
        spec.prune = Some(true);
        spec.source_ref.kind = FluxKind::GitRepository.kind().to_owned();
        spec.source_ref.name.clone_from(&self.name);
        (repository, kustomization)
    }

    fn check(&self) -> Result<()> {
        for (what, value) in [
            ("url", &self.url),
            ("branch", &self.branch),
            ("namespace", &self.namespace),
            ("name", &self.name),
        ] {
            if value.is_empty() {
                return Err(Error::invalid(format!("the {what} is empty")));
            }
        }
        match url::Url::parse(&self.url) {
            // It is committed, and everybody may read the object that has it.
            Ok(url) if matches!(url.scheme(), "http" | "https" | "ssh") => {
                let blank = |c: char| c.is_control() || c.is_whitespace();
                if has_credentials(url.as_str()) || has_credentials(&self.url) {
                    return Err(Error::invalid(
                        "the URL holds a password or a token; give it as a secret",
                    ));
                }
                if self.url.contains(blank) {
                    return Err(Error::invalid("the URL holds blanks"));
                }
            }
            // The text may hold one, so it is not quoted.
            _ => {
                return Err(Error::invalid(
                    "the URL is none that source-controller takes: http, https or ssh",
                ));
            }
        }
        Ok(())
    }
}

/// What a bootstrap did.
#[derive(Clone, Debug)]
pub struct Bootstrapped {
    /// The branch's commit with the files.
    pub commit: String,
    /// Whether it was made now; the files were there already otherwise.
    pub committed: bool,
    /// Whether Flux's manifests were applied now; Flux kept itself already otherwise.
    pub installed: bool,
    /// Whether the Secret was made now; `None` when there is none to make.
    pub secret_made: Option<bool>,
    /// What the Kustomization came to; its first source is the GitRepository.
    pub reconciled: Reconciled,
}

impl FluxManager {
    /// Bootstraps Flux from a repository, which `repository` reaches with the right to push.
    ///
    /// It can be run again: nothing is committed or applied then that is there already, and a run that broke off is brought to its end. Dropping the future stops; what was pushed and applied stays.
    ///
    /// # Errors
    /// `InvalidInput` for options and manifests that cannot be used, and a `kustomization.yaml` that does not name the two other files; `Conflict` when the Kustomization is there with another
    /// path, which another cluster's directory would overwrite; those of [`Repository::commit`]; those of [`reconcile`](Self::reconcile), which say why Flux does not get ready;
    /// `Timeout` naming the Deployments that are not ready; what applying meets.
    pub async fn bootstrap(
        &self,
        repository: &Repository,
        options: &BootstrapOptions,
    ) -> Result<Bootstrapped> {
        options.check()?;
        let components: Vec<Object> = yaml::parse("gotk-components.yaml", &options.components)?;
        let running = self.bootstrapped(options).await?;
        let (commit, committed) = commit(repository, options).await?;
        let wanted = files::rendered(repository, &commit, options, components).await?;
        let mut installed = false;
        if !running {
            install::apply(self.cluster(), &wanted.components, options)
                .await
                .context(|| "apply Flux's manifests")?;
            installed = true;
        }
        let secret_made = match &options.secret {
            Some(secret) => {
                let mut secret = secret.clone();
                secret.namespace.clone_from(&options.namespace);
                Some(secret.apply(self.cluster()).await?)
            }
            None => None,
        };
        if !running || committed {
            install::apply(self.cluster(), &wanted.sync, options)
                .await
                .context(|| "apply what syncs Flux")?;
        }
        let kustomization = FluxRef::to::<Kustomization>(&options.namespace, &options.name);
        let reconcile = ReconcileOptions::default()
            .with_source()
            .wait(WaitOptions::within(options.timeout));
        let reconciled = self.reconcile(&kustomization, &reconcile).await?;
        if options.wait_for_components {
            install::wait(self.cluster(), &wanted.components, options.timeout).await?;
        }
        Ok(Bootstrapped {
            commit,
            committed,
            installed,
            secret_made,
            reconciled,
        })
    }

    /// Whether Flux keeps itself already: the Kustomization is there and has applied something.
    async fn bootstrapped(&self, options: &BootstrapOptions) -> Result<bool> {
        let found: Kustomization = match self.get(&options.namespace, &options.name).await {
            Ok(found) => found,
            // Neither the object nor, before the first time, its definition is there.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let normal = |path: &str| path.trim_start_matches("./").trim_matches('/').to_owned();
        let path = found.spec.path.as_deref().unwrap_or_default();
        if normal(path) != normal(&options.path) {
            return Err(Error::conflict(format!(
                "{} is there with path {path:?}; {:?} would overwrite it",
                found.id(),
                options.kustomization_path()
            )));
        }
        Ok(found
            .last_applied_revision()
            .is_some_and(|revision| !revision.is_empty()))
    }
}

async fn commit(repository: &Repository, options: &BootstrapOptions) -> Result<(String, bool)> {
    let version = match options.version.as_str() {
        "" => String::new(),
        version => format!(" {version}"),
    };
    let mut message = format!("Add Flux{version} manifests");
    if !options.message_appendix.is_empty() {
        message = format!("{message}\n\n{}", options.message_appendix);
    }
    // The message is a template.
    let message = message.replace('{', "{{").replace('}', "}}");
    let (name, email) = &options.author;
    let how = CommitOptions::new(name, email, message).branch(&options.branch);
    let outcome = repository
        .commit(&how, |snapshot| files::edits(snapshot, options))
        .await
        .context(|| "commit Flux's manifests")?;
    let committed = matches!(outcome, CommitOutcome::Pushed { .. });
    let commit = outcome
        .commit()
        .ok_or_else(|| Error::internal("there is no commit"))?;
    Ok((commit.to_owned(), committed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_credentials_are_committed() {
        let check = |url: &str| BootstrapOptions::new(url, "clusters/a", "x").check();
        for url in [
            "https://git.example.com/a/b",
            "http://git.example.com:3000/a/b@c",
            "ssh://git@git.example.com:22/a/b",
        ] {
            check(url).unwrap();
        }
        for url in [
            "https://canary@git.example.com/a/b",
            "https://user:canary@git.example.com/a/b",
            "https://:canary@git.example.com/a/b",
            "https:///canary@git.example.com/a/b",
            "https:\\\\canary@git.example.com/a/b",
            "HTTPS://canary@git.example.com/a/b",
            "ht\ntps://canary@git.example.com/a/b",
            "ssh://git:canary@git.example.com/a/b",
            "https://git.example.com/a\tb",
            "git@canary:a/b",
            "file:///canary",
        ] {
            let error = check(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(
                !format!("{error:#} {error:?}").contains("canary"),
                "{error:?}"
            );
        }
    }
}
