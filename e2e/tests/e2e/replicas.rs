//! Two replicas of the reconciler, as programs, on the real API server; one is killed in the middle of a sync.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use gitops_core::application::{AppRef, Application, Automated, Source};
use gitops_core::backend::{ApplicationStore, PutMode};
use gitops_git::{CommitOptions, Edits, Repository, RepositoryOptions};
use gitops_kube::cluster::KubeCluster;
use gitops_kube::lease::LeaseOptions;
use gitops_kube::store::ConfigMapStore;
use jiff::Timestamp;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

const LEASE: u64 = 6;

/// A replica, and what it printed.
struct Replica {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Replica {
    fn start(namespace: &str, identity: &str, kubeconfig: &std::path::Path) -> Result<Self> {
        // Beside the tests' own program.
        let program = std::env::current_exe()?
            .ancestors()
            .nth(2)
            .context("no target directory")?
            .join("examples/reconciler");
        let mut child = Command::new(program)
            .args(["--namespace", namespace, "run", "--identity", identity])
            .args(["--lease-seconds", &LEASE.to_string(), "--poll-seconds", "1"])
            .env("KUBECONFIG", kubeconfig)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut output = BufReader::new(child.stdout.take().context("no output")?).lines();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        tokio::spawn(async move {
            while let Ok(Some(line)) = output.next_line().await {
                println!("{line}");
                kept.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        });
        Ok(Self { child, lines })
    }

    fn lines(&self) -> Vec<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.clone()
    }

    /// Waits for a line that says `what` of `app`.
    async fn until(&self, app: &AppRef, what: &str, seconds: u64) -> Result<()> {
        let text = format!(" {app}: {what}");
        let begun = Instant::now();
        while !self.lines().iter().any(|line| line.contains(&text)) {
            ensure!(begun.elapsed().as_secs() < seconds, "no line says {text:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// From when to when it synced each application; what had not ended, until `end`.
    fn syncs(&self, end: Timestamp) -> Result<Vec<(String, Timestamp, Timestamp)>> {
        let mut open: BTreeMap<String, Timestamp> = BTreeMap::new();
        let mut all = Vec::new();
        for line in self.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [at, _, app, what @ ..] = &words[..] else {
                continue;
            };
            match what {
                ["sync", "started"] => {
                    open.insert((*app).to_owned(), at.parse()?);
                }
                ["sync", phase, ..] if *phase != "refused" => {
                    let from = open.remove(*app).context("ended without a start")?;
                    all.push(((*app).to_owned(), from, at.parse()?));
                }
                _ => {}
            }
        }
        all.extend(open.into_iter().map(|(app, from)| (app, from, end)));
        Ok(all)
    }
}

struct Place {
    repository: Repository,
    url: String,
    namespace: String,
    store: ConfigMapStore,
    _dir: tempfile::TempDir,
}

impl Place {
    async fn commit(&self, edits: Edits) -> Result<()> {
        let options = CommitOptions::new("Ann", "ann@example.com", "Change {paths}").branch("main");
        self.repository
            .commit(&options, |_| async { Ok(edits.clone()) })
            .await?;
        Ok(())
    }

    async fn add(&self, name: &str) -> Result<AppRef> {
        let mut app = Application::new(name)
            .source(Source::git(&self.url).path(name).revision("main"))
            .in_namespace(&self.namespace)
            .automated(Automated::default());
        app.namespace.clone_from(&self.namespace);
        self.store.put(&app, PutMode::Create).await?;
        Ok(app.app_ref())
    }
}

fn quick(name: &str, value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{v: \"{value}\"}}\n"
    )
}

/// Its first wave never becomes healthy, for no node has this label: so the second is always still to do.
fn slow(name: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec:\n  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n    \
         spec: {{nodeSelector: {{no.such: node}}, containers: [{{name: c, image: example.org/c:1}}]}}\n---\n\
         apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, annotations: {{argocd.argoproj.io/sync-wave: \"1\"}}}}\n"
    )
}

async fn place(namespace: &str, cluster: &KubeCluster) -> Result<Place> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("config.git");
    let mut options = git2::RepositoryInitOptions::new();
    options.bare(true).initial_head("main");
    git2::Repository::init_opts(&path, &options)?;
    let url = format!("file://{}", path.display());
    let options = RepositoryOptions::default().cache_dir(dir.path().join("cache"));
    Ok(Place {
        repository: Repository::open(&url, options).await?,
        store: ConfigMapStore::new(Arc::new(cluster.clone()), namespace),
        namespace: namespace.to_owned(),
        url,
        _dir: dir,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_killed_in_the_middle_of_a_sync_is_replaced_and_never_doubled() -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .current_dir(e2e::workspace_dir())
        .args([
            "build",
            "--quiet",
            "--package",
            "gitops",
            "--example",
            "reconciler",
        ])
        .args(["--features", "reconcile,metrics,webhook"])
        .status();
    ensure!(built.await?.success(), "the example cannot be built");
    let cluster = e2e::cluster().await?;
    let namespace = cluster.namespace("replicas").await?.name().to_owned();
    let kube = KubeCluster::new(cluster.client().await?);
    let place = place(&namespace, &kube).await?;

    // The first replica keeps the lower half of the shards, the second one gets the upper half.
    let options = LeaseOptions::default();
    let named = |prefix: &'static str, upper: bool| {
        let namespace = namespace.clone();
        let shards = options.clone();
        (0..)
            .map(move |n| format!("{prefix}-{n}"))
            .filter(move |name| {
                let shard = shards.shard_of(&AppRef::namespaced(&*namespace, &**name));
                (shard >= shards.shards / 2) == upper
            })
    };
    let quicks: Vec<String> = named("quick", false)
        .take(3)
        .chain(named("quick", true).take(3))
        .collect();
    let (lower, upper) = (
        named("slow", false).next().context("no name")?,
        named("slow", true).next().context("no name")?,
    );
    let mut edits = Edits::new();
    for name in &quicks {
        edits = edits.put(format!("{name}/a.yaml"), quick(name, "1"));
    }
    for name in [&lower, &upper] {
        edits = edits.put(format!("{name}/a.yaml"), slow(name));
    }
    place.commit(edits).await?;
    let mut apps = Vec::new();
    for name in &quicks {
        apps.push(place.add(name).await?);
    }
    let (lower, upper) = (place.add(&lower).await?, place.add(&upper).await?);

    let kubeconfig = cluster.kubeconfig();
    let mut first = Replica::start(&namespace, "first", kubeconfig.as_ref())?;
    for app in &apps {
        first.until(app, "sync Succeeded", 60).await?;
    }
    first.until(&lower, "sync started", 60).await?;
    first.until(&upper, "sync started", 60).await?;
    // A second one joins: the first stops what it was doing for the half that it gives up.
    let mut second = Replica::start(&namespace, "second", kubeconfig.as_ref())?;
    second.until(&upper, "sync started", 60).await?;

    // The first one is killed in the middle of the sync of what it kept.
    let killed = (Instant::now(), Timestamp::now());
    first.child.kill().await?;
    second.until(&lower, "sync started", 60).await?;
    let took = killed.0.elapsed();
    println!(
        "taken over after {:.1} s of a lease of {LEASE} s",
        took.as_secs_f64()
    );
    ensure!(took <= Duration::from_secs(LEASE), "it took {took:?}");

    // All applications have an owner: a new commit reaches each.
    let edits = quicks.iter().fold(Edits::new(), |edits, name| {
        edits.put(format!("{name}/a.yaml"), quick(name, "2"))
    });
    place.commit(edits).await?;
    for name in &quicks {
        let begun = Instant::now();
        loop {
            let path = [
                "-n",
                &namespace,
                "get",
                "cm",
                name,
                "-o",
                "jsonpath={.data.v}",
            ];
            if cluster.kubectl(&path).await? == "2" {
                break;
            }
            ensure!(
                begun.elapsed().as_secs() < 60,
                "{name} is not at the new commit"
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    // No application was synced by two at once.
    let mut both = 0;
    let theirs = second.syncs(Timestamp::now())?;
    for (app, from, to) in first.syncs(killed.1)? {
        for (_, other_from, other_to) in theirs.iter().filter(|(other, ..)| *other == app) {
            both += 1;
            ensure!(
                to <= *other_from || *other_to <= from,
                "{app} was synced by both at once"
            );
        }
    }
    ensure!(both >= 8, "only {both} pairs of syncs were compared");

    // The end: Ctrl-C, and the Leases are let go.
    let id = second.child.id().context("it ended by itself")?;
    let interrupt = Command::new("kill")
        .args(["-INT", &id.to_string()])
        .status();
    ensure!(interrupt.await?.success(), "kill failed");
    let ended = tokio::time::timeout(Duration::from_secs(90), second.child.wait()).await??;
    ensure!(ended.success(), "{ended}");
    let holders = cluster
        .kubectl(&[
            "-n",
            &namespace,
            "get",
            "leases",
            "-o",
            "jsonpath={range .items[*]}{.spec.holderIdentity}{\"\\n\"}{end}",
        ])
        .await?;
    ensure!(!holders.contains("second"), "{holders}");
    Ok(())
}
