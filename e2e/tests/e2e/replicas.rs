//! Two replicas of the reconciler, as programs, on the real API server; one is killed, or stopped and continued, in the middle of a sync.

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

const LEASE: u64 = 10;

/// What a busy machine may take besides, from when an application may be synced until its sync begins.
const BUSY: u64 = 6;

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

/// Builds the example.
async fn build() -> Result<()> {
    let built = Command::from(e2e::cargo())
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
    Ok(())
}

/// The names `prefix-0`, `prefix-1` … of the applications in the lower or the upper half of the shards.
fn named(namespace: &str, prefix: &'static str, upper: bool) -> impl Iterator<Item = String> {
    let (namespace, shards) = (namespace.to_owned(), LeaseOptions::default());
    (0..)
        .map(move |n| format!("{prefix}-{n}"))
        .filter(move |name| {
            let shard = shards.shard_of(&AppRef::namespaced(&*namespace, &**name));
            (shard >= shards.shards / 2) == upper
        })
}

fn signal(replica: &Replica, name: &str) -> Result<()> {
    let id = replica.child.id().context("it ended by itself")?;
    let sent = std::process::Command::new("kill")
        .args([name, &id.to_string()])
        .status()?;
    ensure!(sent.success(), "kill failed");
    Ok(())
}

/// Waits until `holder` has the Lease of every shard; says when it got the last.
async fn until_all_held(
    cluster: &e2e::Cluster,
    namespace: &str,
    holder: &str,
) -> Result<Timestamp> {
    let path = "jsonpath={range .items[*]}{.metadata.name} {.spec.holderIdentity} {.spec.acquireTime}{\"\\n\"}{end}";
    let begun = Instant::now();
    loop {
        let leases = cluster
            .kubectl(&["-n", namespace, "get", "leases", "-o", path])
            .await?;
        let mut held = Vec::new();
        for line in leases.lines().filter(|line| line.contains("-shard-")) {
            if let [_, who, since] = line.split(' ').collect::<Vec<_>>()[..]
                && who == holder
            {
                held.push(since.parse()?);
            }
        }
        if held.len() == LeaseOptions::default().shards as usize {
            return held.into_iter().max().context("there are no shards");
        }
        ensure!(
            begun.elapsed().as_secs() < 60,
            "{holder} has not all: {leases}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Holds that no application was synced by both at once; says how many pairs of syncs were compared.
fn never_both(
    first: &[(String, Timestamp, Timestamp)],
    second: &[(String, Timestamp, Timestamp)],
) -> Result<usize> {
    let mut pairs = 0;
    for (app, from, to) in first {
        for (_, other_from, other_to) in second.iter().filter(|(other, ..)| other == app) {
            pairs += 1;
            ensure!(
                to <= other_from || other_to <= from,
                "{app} was synced by both at once"
            );
        }
    }
    Ok(pairs)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_killed_in_the_middle_of_a_sync_is_replaced_and_never_doubled() -> Result<()> {
    build().await?;
    let cluster = e2e::cluster().await?;
    let namespace = cluster.namespace("replicas").await?.name().to_owned();
    let kube = KubeCluster::new(cluster.client().await?);
    let place = place(&namespace, &kube).await?;

    // The first replica keeps the lower half of the shards, the second one gets the upper half.
    let named = |prefix, upper| named(&namespace, prefix, upper);
    let quicks: Vec<String> = named("quick", false)
        .take(3)
        .chain(named("quick", true).take(3))
        .collect();
    // As many as leave a place among those that are synced at once.
    let lowers: Vec<String> = named("slow", false).take(2).collect();
    let upper = named("slow", true).next().context("no name")?;
    let mut edits = Edits::new();
    for name in &quicks {
        edits = edits.put(format!("{name}/a.yaml"), quick(name, "1"));
    }
    for name in lowers.iter().chain([&upper]) {
        edits = edits.put(format!("{name}/a.yaml"), slow(name));
    }
    place.commit(edits).await?;
    let mut apps = Vec::new();
    for name in &quicks {
        apps.push(place.add(name).await?);
    }
    let upper = place.add(&upper).await?;
    let mut kept = Vec::new();
    for name in &lowers {
        kept.push(place.add(name).await?);
    }

    let kubeconfig = cluster.kubeconfig();
    let mut first = Replica::start(&namespace, "first", kubeconfig.as_ref())?;
    for app in &apps {
        first.until(app, "sync Succeeded", 120).await?;
    }
    for app in kept.iter().chain([&upper]) {
        first.until(app, "sync started", 120).await?;
    }
    // A second one joins: the first stops what it was doing for the half that it gives up.
    let mut second = Replica::start(&namespace, "second", kubeconfig.as_ref())?;
    second.until(&upper, "sync started", 120).await?;

    // The first one is killed in the middle of the syncs of what it kept.
    let killed = Timestamp::now();
    first.child.kill().await?;
    // Every application is in a shard: none is alone for longer than the lease, and those with a sync under way are synced by then.
    let held = until_all_held(cluster, &namespace, "second").await?;
    let alone = held.duration_since(killed);
    ensure!(
        alone.as_secs_f64() <= (LEASE + 1) as f64,
        "they were alone for {alone:?}"
    );
    let mut last = held;
    for app in &kept {
        second.until(app, "sync started", 120).await?;
    }
    for (app, from, _) in second.syncs(Timestamp::now())? {
        if kept.iter().any(|kept| kept.to_string() == app) {
            last = last.max(from);
        }
    }
    let took = last.duration_since(killed);
    println!(
        "all taken over after {alone:.1?} and synced after {took:.1?} of a lease of {LEASE} s"
    );
    ensure!(
        took.as_secs_f64() <= (LEASE + BUSY) as f64,
        "it took {took:?}"
    );

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
    let theirs = second.syncs(Timestamp::now())?;
    let both = never_both(&first.syncs(killed)?, &theirs)?;
    ensure!(both >= 8, "only {both} pairs of syncs were compared");

    // The end: Ctrl-C, and the Leases are let go.
    signal(&second, "-INT")?;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_stopped_for_a_while_begins_nothing_when_it_goes_on() -> Result<()> {
    build().await?;
    let cluster = e2e::cluster().await?;
    let namespace = cluster.namespace("stopped").await?.name().to_owned();
    let kube = KubeCluster::new(cluster.client().await?);
    let place = place(&namespace, &kube).await?;
    let slows: Vec<String> = named(&namespace, "slow", false)
        .take(1)
        .chain(named(&namespace, "slow", true).take(1))
        .collect();
    let edits = slows.iter().fold(Edits::new(), |edits, name| {
        edits.put(format!("{name}/a.yaml"), slow(name))
    });
    place.commit(edits).await?;
    let mut apps = Vec::new();
    for name in &slows {
        apps.push(place.add(name).await?);
    }
    let kubeconfig = cluster.kubeconfig();
    let first = Replica::start(&namespace, "first", kubeconfig.as_ref())?;
    for app in &apps {
        first.until(app, "sync started", 120).await?;
    }
    // It is stopped in the middle of both syncs, and knows nothing of the second one, which takes everything.
    signal(&first, "-STOP")?;
    let stopped = Timestamp::now();
    let second = Replica::start(&namespace, "second", kubeconfig.as_ref())?;
    for app in &apps {
        second.until(app, "sync started", 120).await?;
    }
    until_all_held(cluster, &namespace, "second").await?;
    // There is news for it to act upon when it goes on.
    let edits = slows.iter().fold(Edits::new(), |edits, name| {
        edits.put(format!("{name}/b.yaml"), quick(&format!("{name}-b"), "2"))
    });
    place.commit(edits).await?;
    signal(&first, "-CONT")?;
    let continued = Timestamp::now();
    // What it was doing ends, and it goes on as one of two.
    let begun = Instant::now();
    while first
        .lines()
        .iter()
        .filter(|line| line.contains(": sync Failed"))
        .count()
        < apps.len()
    {
        ensure!(
            begun.elapsed().as_secs() < 60,
            "a sync was not ended: {:?}",
            first.lines()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_secs(3 * LEASE)).await;
    let before = |(_, from, _): &(String, Timestamp, Timestamp)| *from < stopped;
    let begun = Instant::now();
    let (old, new, now) = loop {
        let now = Timestamp::now();
        let (old, new): (Vec<_>, Vec<_>) = first.syncs(now)?.into_iter().partition(before);
        if !new.is_empty() || begun.elapsed().as_secs() >= 60 {
            break (old, new, now);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    ensure!(old.len() >= 2, "{old:?}");
    ensure!(new.iter().all(|(_, from, _)| *from > continued), "{new:?}");
    // What it began after that it had a right to.
    let pairs = never_both(&new, &second.syncs(now)?)?;
    println!(
        "{} syncs since it goes on, {pairs} pairs compared",
        new.len()
    );
    ensure!(
        !new.is_empty(),
        "it does nothing any more: {:?}",
        first.lines()
    );
    Ok(())
}
