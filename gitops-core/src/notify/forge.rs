//! Commit statuses on forges.

use std::fmt;

use async_trait::async_trait;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::Notifier;
use super::http::{HttpOptions, Receiver, json_of};
use crate::application::OperationPhase;
use crate::backend::{EventKind, SyncEvent};
use crate::error::{Error, Result};
use crate::secret::SecretString;

/// No forge shows more of a description; GitHub refuses longer ones.
const DESCRIPTION: usize = 140;

/// Whose API is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Forge {
    /// Gitea 1.x and Forgejo: `POST /api/v1/repos/OWNER/NAME/statuses/SHA`.
    Gitea,
    /// GitHub's REST API, version 2022-11-28: `POST /repos/OWNER/NAME/statuses/SHA`; of GitHub Enterprise Server, the URL ends in `/api/v3`.
    GitHub,
    /// GitLab's REST API v4: `POST /api/v4/projects/PATH/statuses/SHA`.
    GitLab,
}

/// How far a deployment is, for people who look at the commit.
#[derive(Clone, Copy)]
enum State {
    Pending,
    Success,
    Failure,
    Error,
}

/// Sets the status of the commit that is deployed, under the context `gitops/NAMESPACE/NAME`: pending once it is rendered, then success, failure or error. Events without
/// a commit, and those of operations that ended before they knew one, are no news to a forge.
///
/// It speaks of one repository: add it with an [`EventFilter`](super::EventFilter) for the applications that come from there.
#[derive(Clone)]
pub struct CommitStatusNotifier {
    forge: Forge,
    receiver: Receiver,
    repository: String,
    source: usize,
    target_url: String,
}

impl fmt::Debug for CommitStatusNotifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommitStatusNotifier")
            .field("forge", &self.forge)
            .field("repository", &self.repository)
            .finish_non_exhaustive()
    }
}

impl CommitStatusNotifier {
    /// A notifier for `repository` (`owner/name`, of GitLab the whole path) of the forge at `url` (`https://git.example.com`, `https://api.github.com`), with a token that
    /// may write statuses.
    ///
    /// # Errors
    /// `InvalidInput` for a URL, a token, a CA or a repository's name that cannot be used.
    pub fn new(
        forge: Forge,
        url: &str,
        repository: impl Into<String>,
        token: &SecretString,
        options: &HttpOptions,
    ) -> Result<Self> {
        let repository = repository.into();
        let parts: Vec<&str> = repository.split('/').collect();
        let bad = |part: &&str| matches!(*part, "" | "." | "..");
        if parts.iter().any(bad) || parts.len() < 2 || (forge != Forge::GitLab && parts.len() != 2)
        {
            return Err(Error::invalid(format!(
                "{repository:?} is no repository's name: expected owner/name"
            )));
        }
        let mut options = options.clone();
        options.headers.push(match forge {
            Forge::Gitea => (
                "authorization".into(),
                format!("token {}", token.expose()).into(),
            ),
            Forge::GitHub => (
                "authorization".into(),
                format!("Bearer {}", token.expose()).into(),
            ),
            Forge::GitLab => ("private-token".into(), token.clone()),
        });
        if forge == Forge::GitHub {
            for (name, value) in [
                ("accept", "application/vnd.github+json"),
                ("x-github-api-version", "2022-11-28"),
            ] {
                options.headers.push((name.into(), value.into()));
            }
        }
        Ok(Self {
            forge,
            receiver: Receiver::new(url, &options)?,
            repository,
            source: 0,
            target_url: String::new(),
        })
    }

    /// The application's source that comes from this repository, counted from 0; 0 unless set.
    #[must_use]
    pub fn source(mut self, source: usize) -> Self {
        self.source = source;
        self
    }

    /// Where a click on the status leads.
    #[must_use]
    pub fn target_url(mut self, url: impl Into<String>) -> Self {
        self.target_url = url.into();
        self
    }

    /// The commit that an event is about, and how far it is.
    fn state<'e>(&self, event: &'e SyncEvent) -> Option<(&'e str, State)> {
        let (revisions, state) = match &event.kind {
            EventKind::Rendered { revisions, .. } => (revisions, State::Pending),
            EventKind::SyncFinished { outcome } => {
                let state = match outcome.phase {
                    OperationPhase::Succeeded => State::Success,
                    OperationPhase::Failed => State::Failure,
                    _ => State::Error,
                };
                (&outcome.revisions, state)
            }
            _ => return None,
        };
        let commit = revisions.get(self.source)?;
        // A chart's version is no commit.
        let is_sha =
            matches!(commit.len(), 40 | 64) && commit.bytes().all(|b| b.is_ascii_hexdigit());
        is_sha.then_some((commit, state))
    }

    fn request(&self, event: &SyncEvent, commit: &str, state: State) -> (Vec<String>, Value) {
        let context = format!("gitops/{}", event.app);
        let description: String = event.kind.text().chars().take(DESCRIPTION).collect();
        let mut path: Vec<String> = Vec::new();
        let mut body = match self.forge {
            Forge::Gitea | Forge::GitHub => {
                if self.forge == Forge::Gitea {
                    path.extend(["api".into(), "v1".into()]);
                }
                path.push("repos".into());
                path.extend(self.repository.split('/').map(str::to_owned));
                let state = match state {
                    State::Pending => "pending",
                    State::Success => "success",
                    State::Failure => "failure",
                    State::Error => "error",
                };
                json!({"state": state, "context": context, "description": description})
            }
            Forge::GitLab => {
                path.extend(["api".into(), "v4".into(), "projects".into()]);
                // One segment: its slashes are escaped.
                path.push(self.repository.clone());
                let state = match state {
                    State::Pending => "running",
                    State::Success => "success",
                    State::Failure | State::Error => "failed",
                };
                json!({"state": state, "name": context, "description": description})
            }
        };
        path.extend(["statuses".into(), commit.to_owned()]);
        if !self.target_url.is_empty() {
            body["target_url"] = self.target_url.as_str().into();
        }
        (path, body)
    }
}

#[async_trait]
impl Notifier for CommitStatusNotifier {
    fn name(&self) -> &str {
        "commit-status"
    }

    async fn notify(&self, event: &SyncEvent) -> Result<()> {
        let Some((commit, state)) = self.state(event) else {
            return Ok(());
        };
        let (path, body) = self.request(event, commit, state);
        self.receiver
            .below(&path)?
            .post("application/json", HeaderMap::new(), json_of(&body)?)
            .await
    }
}
