//! What a reconcile takes that is not the controllers': `ours flux-reconcile` tells the two apart.
//!
//! What is counted: from the call to its return, less the time from the API server's answer to our request (the annotation's PATCH) to the arrival at this machine of the
//! change with which the object names that request and is Ready, as an independent watch sees it; with a source, the same of the source before. Reading the object before it is
//! asked, the request and noticing the result are therefore ours. The API server's audit log tells the same from the other side: there the controller's time
//! ends already when the API server receives the controller's last status, so that storing it, and telling the watchers, counts as ours.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use e2e::gitea::GiteaOptions;
use e2e::{FluxController, FluxOptions, FluxServer, GiteaServer};
use serde_json::json;

use crate::bench::git::{git, path, post, within};
use crate::bench::measure::{Settings, median, reported, run};
use crate::bench::report::Outcome;

/// At most so long.
const LIMIT_MS: f64 = 200.0;

/// Calls of one run, where nothing new is there to be applied.
const INNER: usize = 5;

const NAMESPACE: &str = "shop";
const NAME: &str = "web";

/// Objects that the Kustomization applies.
const OBJECTS: usize = 20;

/// A running Flux with a source from a Gitea, and a Kustomization.
pub(in crate::bench) struct Server {
    flux: FluxServer,
    _gitea: GiteaServer,
    /// A clone that pushes.
    work: PathBuf,
}

impl Server {
    pub(in crate::bench) async fn start(settings: &Settings) -> Result<Self> {
        let options = FluxOptions {
            controllers: vec![FluxController::Source, FluxController::Kustomize],
            ..FluxOptions::default()
        };
        let flux = FluxServer::start(&settings.session, &options).await?;
        let server = GiteaServer::start(&settings.session, &GiteaOptions::default()).await?;
        let gitea = server.gitea();
        let (url, user) = (&gitea.url, &gitea.user);
        let body = json!({"name": "shop", "private": false, "default_branch": "main"}).to_string();
        post(url, "/api/v1/user/repos", user, &gitea.password, &body).await?;
        let work = settings.data.join("shop");
        run(git(&[
            "init",
            "--quiet",
            "--initial-branch=main",
            path(&work)?,
        ])?)
        .await?;
        let push = format!("{url}/{user}/shop.git");
        let push = push.replacen("://", &format!("://{user}:{}@", gitea.password), 1);
        run(within(&work, &["remote", "add", "origin", &push])?).await?;
        let url = format!("{url}/{user}/shop.git");
        let server = Self {
            flux,
            _gitea: server,
            work,
        };
        server.commit("first").await?;
        server.deploy(settings, &url).await?;
        Ok(server)
    }

    /// One more commit, which changes every object; its SHA.
    async fn commit(&self, message: &str) -> Result<String> {
        let mut text = String::new();
        for n in 0..OBJECTS {
            writeln!(
                text,
                "---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings-{n:02}\ndata:\n  commit: \"{message}\""
            )?;
        }
        let file = self.work.join("settings.yaml");
        std::fs::write(&file, text).with_context(|| file.display().to_string())?;
        for args in [
            &["add", "--all"][..],
            &["commit", "--quiet", "--message", message],
            &["push", "--quiet", "origin", "main"],
        ] {
            run(within(&self.work, args)?).await?;
        }
        let sha = run(within(&self.work, &["rev-parse", "HEAD"])?).await?;
        Ok(String::from_utf8(sha)?.trim().to_owned())
    }

    async fn deploy(&self, settings: &Settings, url: &str) -> Result<()> {
        let cluster = &self.flux.flux().cluster;
        let metadata = json!({"name": NAME, "namespace": NAMESPACE});
        let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
            {
                "apiVersion": "source.toolkit.fluxcd.io/v1",
                "kind": "GitRepository",
                "metadata": metadata,
                // Nothing happens by itself while it is measured.
                "spec": {"interval": "24h", "url": url, "ref": {"branch": "main"}},
            },
            {
                "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
                "kind": "Kustomization",
                "metadata": metadata,
                "spec": {
                    "interval": "24h",
                    "path": "./",
                    "prune": true,
                    "wait": true,
                    "targetNamespace": NAMESPACE,
                    "sourceRef": {"kind": "GitRepository", "name": NAME},
                },
            },
        ]});
        let file = settings.data.join("flux.json");
        std::fs::write(&file, objects.to_string()).context("cannot write Flux's objects")?;
        cluster
            .kubectl(&["apply", "--server-side", "--filename", path(&file)?])
            .await?;
        let object = format!("kustomization/{NAME}");
        let namespace = format!("--namespace={NAMESPACE}");
        cluster
            .kubectl(&[
                "wait",
                &object,
                &namespace,
                "--for=condition=Ready",
                "--timeout=90s",
            ])
            .await?;
        Ok(())
    }

    pub(in crate::bench) async fn run_case(
        &self,
        name: &str,
        settings: &Settings,
    ) -> Result<Outcome> {
        let with_source = match name {
            "flux-reconcile" => false,
            "flux-reconcile-source" => true,
            other => bail!("unknown case {other}"),
        };
        let (mut times, mut audited, mut controllers) = (Vec::new(), Vec::new(), Vec::new());
        let mut slowest: f64 = 0.0;
        for round in 0..settings.rounds {
            let mut commit = None;
            if with_source {
                commit = Some(self.commit(&format!("round {round}")).await?);
            }
            let rounds = if with_source { 1 } else { INNER };
            let cluster = &self.flux.flux().cluster;
            let mut command = settings.ours("flux-reconcile");
            command
                .arg("--kubeconfig")
                .arg(cluster.kubeconfig())
                .arg("--audit-log")
                .arg(&cluster.audit_log)
                .args(["--namespace", NAMESPACE, "--name", NAME])
                .args(["--rounds", &rounds.to_string()]);
            if with_source {
                command.arg("--with-source");
            }
            let (ms, answer) = reported(command).await?;
            if let Some(commit) = commit
                && answer["revision"] != format!("main@sha1:{commit}")
            {
                bail!("{commit} was not applied: {answer}");
            }
            let figure = |name: &str| {
                answer[name]
                    .as_f64()
                    .with_context(|| format!("no `{name}` in {answer}"))
            };
            eprintln!(
                "bench:   {ms:.1} ms, by the audit log {:.1} ms; the controllers {:.1} ms",
                figure("audited_ms")?,
                figure("controllers_ms")?
            );
            times.push(ms);
            audited.push(figure("audited_ms")?);
            controllers.push(figure("controllers_ms")?);
            slowest = slowest.max(figure("slowest_ms")?);
        }
        let ours = median(times);
        let what = match with_source {
            true => format!("a new commit of {OBJECTS} objects, source first"),
            false => format!("{OBJECTS} objects, nothing new"),
        };
        Ok(Outcome {
            name: String::new(),
            ours_ms: ours,
            peer: format!(
                "a limit of {LIMIT_MS} ms besides the controllers' {:.0} ms: {what}; slowest {slowest:.1} ms, by the API server's audit log {:.1} ms",
                median(controllers),
                median(audited)
            ),
            peer_ms: None,
            ratio: LIMIT_MS / ours,
            wanted: 0.0,
            ours_mb: None,
        })
    }
}
