//! Git repositories for GitOps: read a path of a revision, commit and push, watch for new revisions.
//!
//! Objects are read and written with libgit2 in a bare copy (no checkout, no index), off the async threads. The network is the [`Transport`]'s:
//! by default the `git` program as a child ([`GitCli`]), with a private configuration, a deadline, and credentials that are on no command line.
//!
//! ```no_run
//! # async fn example() -> gitops_core::Result<()> {
//! use gitops_git::{CommitOptions, Edits, GitClient, RepositoryOptions, Revision};
//!
//! let client = GitClient::new(RepositoryOptions::default().cache_dir("/var/cache/deployer"))?;
//! let repository = client.repository("https://git.example.com/team/config.git").await?;
//!
//! let fetched = repository.fetch_revision(&Revision::parse("main")?).await?;
//! let tree = repository.tree(&fetched.commit, "apps/shop").await?;
//! println!("{} files at {}", tree.len(), fetched.commit);
//!
//! let options = CommitOptions::new("Deployer", "deployer@example.com", "Update {path}").branch("main");
//! repository
//!     .commit(&options, |now| async move {
//!         let replicas = now.read("apps/shop/replicas").await?;
//!         Ok(match replicas.as_deref() {
//!             Some(b"3\n") => Edits::new(),
//!             _ => Edits::new().put("apps/shop/replicas", "3\n"),
//!         })
//!     })
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! New revisions come as a stream, with one look at a repository per interval however many applications watch it; errors are items, and dropping the stream
//! ends the watch:
//!
//! ```no_run
//! # async fn example() -> gitops_core::Result<()> {
//! use futures::StreamExt as _;
//! use gitops_git::credential::{CredentialChain, Netrc, StaticCredential};
//! use gitops_git::{GitClient, GitWatcher, RepositoryOptions, Revision, WatchOptions};
//!
//! // Bound to one scheme, host and port: it is given to no other, redirects included.
//! let token = StaticCredential::basic("https://git.example.com", "deployer", "the token")?;
//! let options = RepositoryOptions::default()
//!     .credentials(CredentialChain::new().with(token).with(Netrc::new("/etc/deployer/netrc")));
//! let repository = GitClient::new(options)?.repository("https://git.example.com/team/config.git").await?;
//!
//! let watcher = GitWatcher::new(WatchOptions::default());
//! let mut revisions = watcher.watch(&repository, Revision::parse("v1.x")?);
//! while let Some(item) = revisions.next().await {
//!     match item {
//!         Ok(new) => println!("{} is now {}", new.revision, new.commit),
//!         Err(error) => eprintln!("looking again later: {error}"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What is refused
//!
//! | what | kind of the error |
//! | --- | --- |
//! | a leading `-` in a URL, user, host, path or revision; a remote helper (`ext::…`); a password inside a URL | `InvalidInput` |
//! | a redirect, to whatever place: the credential does not follow it | `InvalidInput` |
//! | a host key that is unknown or changed; a certificate of an unknown authority | `Integrity` |
//! | no credential, or a refused one | `Unauthenticated` |
//! | a credential that may not do this; a protected branch; a hook that declines | `PermissionDenied` |
//! | a server that hangs past the deadline | `Timeout` |
//! | an empty repository; an unknown revision; a missing path | `NotFound` |
//! | a path that climbs; a symbolic link out of the repository; an LFS pointer | `InvalidInput` |
//! | a path into a submodule | `Unsupported` |
//!
//! When not to use it: for work trees, merges, or hosting. It keeps a copy of the repository and knows branches, tags and commits.
//!
//! What it needs at run time: the `git` program (2.31 or newer), and for SSH the `ssh` of OpenSSH (8.4 or newer for keys with a passphrase). It has no features.

mod client;
pub mod credential;
mod range;
mod repository;
mod revision;
mod template;
mod transport;
mod url;
mod watch;

pub use client::GitClient;
pub use range::SemverRange;
pub use repository::{
    Change, ChangeKind, CommitInfo, CommitOptions, CommitOutcome, Edits, FetchOutcome, Fetched,
    LfsPolicy, LinkPolicy, ListedKind, Person, RefChange, Repository, RepositoryOptions, Snapshot,
    TreeOptions,
};
pub use revision::{Found, Revision};
#[cfg(feature = "libgit2-network")]
pub use transport::LibGit2;
pub use transport::{FetchRequest, GitCli, Proxy, Refspec, Remote, RemoteRefs, Tls, Transport};
pub use url::{RepoUrl, Scheme};
pub use watch::{GitWatcher, NewRevision, WatchOptions};

/// Escapes what could steer a terminal or forge log lines: control characters, newlines included.
pub(crate) fn escape_line(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        // U+202A–U+202E and U+2066–U+2069 change the direction of what follows.
        if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    escaped
}
