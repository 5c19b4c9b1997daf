//! [`ApplicationStore`] with [`StatusStore`].

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;

use super::{check, equal, refused};
use crate::application::{
    AppRef, Application, ApplicationStatus, Health, HealthStatus, HistoryEntry, Source, SyncStatus,
};
use crate::backend::{ApplicationStore, DeleteOptions, ListOptions, PutMode, Selector};
use crate::error::{Error, ErrorKind, Result};
use crate::store::StatusStore;

/// What the suite needs of a store.
pub trait Store: ApplicationStore + StatusStore + 'static {}
impl<T: ApplicationStore + StatusStore + 'static> Store for T {}

fn app(name: &str) -> Application {
    Application::new(name)
        .source(
            Source::git("https://git.example.com/config.git")
                .path(name)
                .revision("main"),
        )
        .in_namespace("shop")
}

fn forget() -> DeleteOptions {
    DeleteOptions {
        cascade: false,
        ..DeleteOptions::default()
    }
}

/// `get` gives back what `put` took.
pub async fn what_is_put_is_got<S: Store>(store: Arc<S>) -> Result<()> {
    let outcome = store.put(&app("a"), PutMode::Upsert).await?;
    check(outcome.created && outcome.changed, || {
        format!("{outcome:?}")
    })?;
    let stored = store.get(&AppRef::new("a")).await?;
    equal(&stored.app, &app("a"))?;
    equal(stored.version, outcome.version)
}

/// `Create` of what is there: fine if it is the same, `AlreadyExists` if not.
pub async fn create_takes_the_same_again_and_nothing_else<S: Store>(store: Arc<S>) -> Result<()> {
    store.put(&app("a"), PutMode::Create).await?;
    let again = store.put(&app("a"), PutMode::Create).await?;
    check(!again.created && !again.changed, || format!("{again:?}"))?;
    let other = app("a").in_namespace("other");
    refused(
        store.put(&other, PutMode::Create).await,
        ErrorKind::AlreadyExists,
    )?;
    equal(store.get(&AppRef::new("a")).await?.app, app("a"))
}

/// `Upsert` replaces, and says whether anything changed.
pub async fn upsert_replaces<S: Store>(store: Arc<S>) -> Result<()> {
    store.put(&app("a"), PutMode::Upsert).await?;
    let same = store.put(&app("a"), PutMode::Upsert).await?;
    check(!same.created && !same.changed, || format!("{same:?}"))?;
    let changed = store
        .put(&app("a").in_namespace("other"), PutMode::Upsert)
        .await?;
    check(!changed.created && changed.changed, || {
        format!("{changed:?}")
    })?;
    equal(
        store.get(&AppRef::new("a")).await?.app,
        app("a").in_namespace("other"),
    )
}

/// `Update` with a version that is no longer there is `Conflict`.
pub async fn an_update_needs_the_version_that_is_there<S: Store>(store: Arc<S>) -> Result<()> {
    let first = store.put(&app("a"), PutMode::Upsert).await?.version;
    let second = app("a").in_namespace("second");
    store.put(&second, PutMode::Update(first.clone())).await?;
    let third = app("a").in_namespace("third");
    refused(
        store.put(&third, PutMode::Update(first)).await,
        ErrorKind::Conflict,
    )?;
    equal(store.get(&AppRef::new("a")).await?.app, second)
}

/// `Update` of what is not there is `NotFound`.
pub async fn an_update_of_nothing_is_not_found<S: Store>(store: Arc<S>) -> Result<()> {
    let result = store.put(&app("a"), PutMode::Update("1".into())).await;
    refused(result, ErrorKind::NotFound)
}

/// Different states have different versions, and reading changes none.
pub async fn versions_are_of_states<S: Store>(store: Arc<S>) -> Result<()> {
    let first = store.put(&app("a"), PutMode::Upsert).await?.version;
    equal(&store.get(&AppRef::new("a")).await?.version, &first)?;
    let second = store
        .put(&app("a").in_namespace("other"), PutMode::Upsert)
        .await?
        .version;
    check(first != second, || format!("both are {first}"))
}

/// Reading, deleting and suspending what is not there is `NotFound`.
pub async fn what_is_not_there_is_not_found<S: Store>(store: Arc<S>) -> Result<()> {
    let nothing = AppRef::new("nothing");
    refused(store.get(&nothing).await, ErrorKind::NotFound)?;
    refused(store.delete(&nothing, &forget()).await, ErrorKind::NotFound)?;
    refused(store.suspend(&nothing).await, ErrorKind::NotFound)?;
    refused(store.resume(&nothing).await, ErrorKind::NotFound)
}

/// `list` is ordered by namespace and name, and takes a selector.
pub async fn lists_are_ordered_and_selected<S: Store>(store: Arc<S>) -> Result<()> {
    for (namespace, name) in [("b", "one"), ("a", "two"), ("a", "one")] {
        let mut app = app(name);
        app.namespace = namespace.into();
        app.labels.insert("tier".into(), name.into());
        store.put(&app, PutMode::Upsert).await?;
    }
    let names = |stored: Vec<crate::backend::Stored>| {
        stored
            .iter()
            .map(|one| one.app.app_ref().to_string())
            .collect::<Vec<_>>()
    };
    equal(
        names(store.list(&ListOptions::default()).await?),
        ["a/one", "a/two", "b/one"],
    )?;
    let selector = Selector {
        labels: [("tier".to_owned(), "one".to_owned())].into(),
        ..Selector::default()
    };
    let options = ListOptions {
        selector,
        ..ListOptions::default()
    };
    equal(names(store.list(&options).await?), ["a/one", "b/one"])
}

/// A new application of the old name begins without status.
pub async fn a_deletion_takes_the_status_along<S: Store>(store: Arc<S>) -> Result<()> {
    let name = AppRef::new("a");
    store.put(&app("a"), PutMode::Upsert).await?;
    store.put_status(&name, &status()).await?;
    store.delete(&name, &forget()).await?;
    refused(store.get(&name).await, ErrorKind::NotFound)?;
    equal(store.list(&ListOptions::default()).await?.len(), 0)?;
    store.put(&app("a"), PutMode::Create).await?;
    equal(store.status(&name).await?, None)
}

/// A store deploys nothing and so undoes nothing: a cascading deletion is `Unsupported`, and deletes nothing.
pub async fn a_cascade_is_refused<S: Store>(store: Arc<S>) -> Result<()> {
    store.put(&app("a"), PutMode::Upsert).await?;
    let result = store
        .delete(&AppRef::new("a"), &DeleteOptions::default())
        .await;
    refused(result, ErrorKind::Unsupported)?;
    store.get(&AppRef::new("a")).await.map(drop)
}

/// `suspend` and `resume` are idempotent.
pub async fn suspending_twice_is_fine<S: Store>(store: Arc<S>) -> Result<()> {
    let name = AppRef::new("a");
    store.put(&app("a"), PutMode::Upsert).await?;
    for (suspended, times) in [(true, 2), (false, 2)] {
        for _ in 0..times {
            if suspended {
                store.suspend(&name).await?;
            } else {
                store.resume(&name).await?;
            }
            equal(store.get(&name).await?.app.suspended, suspended)?;
        }
    }
    equal(store.get(&name).await?.app, app("a"))
}

fn status() -> ApplicationStatus {
    ApplicationStatus {
        sync: SyncStatus::OutOfSync,
        health: Health::new(
            HealthStatus::Degraded,
            "line one\nline two: \"x\" # no comment",
        ),
        revisions: vec!["0123456789abcdef".into()],
        history: vec![HistoryEntry {
            id: 7,
            revisions: vec!["0123456789abcdef".into()],
            ..HistoryEntry::default()
        }],
        ..ApplicationStatus::default()
    }
}

/// What `put_status` took, `status`, `get` and `list` give back.
pub async fn a_status_is_kept<S: Store>(store: Arc<S>) -> Result<()> {
    let name = AppRef::new("a");
    store.put(&app("a"), PutMode::Upsert).await?;
    equal(store.status(&name).await?, None)?;
    store.put_status(&name, &status()).await?;
    equal(store.status(&name).await?, Some(status()))?;
    let options = ListOptions {
        with_status: true,
        ..ListOptions::default()
    };
    let listed = store
        .list(&options)
        .await?
        .pop()
        .and_then(|stored| stored.status);
    equal(listed, Some(status()))?;
    let listed = store
        .list(&ListOptions::default())
        .await?
        .pop()
        .and_then(|stored| stored.status);
    equal(listed, None)?;
    let healthy = ApplicationStatus {
        health: Health::healthy(),
        ..status()
    };
    store.put_status(&name, &healthy).await?;
    equal(store.status(&name).await?, Some(healthy))
}

/// There is no status without its application.
pub async fn a_status_of_nothing_is_not_found<S: Store>(store: Arc<S>) -> Result<()> {
    let nothing = AppRef::new("nothing");
    equal(store.status(&nothing).await?, None)?;
    refused(
        store.put_status(&nothing, &status()).await,
        ErrorKind::NotFound,
    )
}

/// The version is the application's, not its status's.
pub async fn a_status_does_not_change_the_version<S: Store>(store: Arc<S>) -> Result<()> {
    let version = store.put(&app("a"), PutMode::Upsert).await?.version;
    store.put_status(&AppRef::new("a"), &status()).await?;
    equal(&store.get(&AppRef::new("a")).await?.version, &version)?;
    store
        .put(&app("a").in_namespace("other"), PutMode::Update(version))
        .await?;
    equal(store.status(&AppRef::new("a")).await?, Some(status()))
}

/// A name is kept as it is, or refused: never another one, never outside of the store.
pub async fn odd_names_are_kept_or_refused<S: Store>(store: Arc<S>) -> Result<()> {
    // Around what file systems (255) and Kubernetes (253) take.
    let long = [250, 251, 253, 255, 256, 300].map(|length| "x".repeat(length));
    let odd = [
        "",
        ".",
        "..",
        "../../evil",
        "/etc/passwd",
        "a/b",
        "a\\b",
        ".hidden",
        ".status",
        "_",
        "a b",
        "a\nb",
        "a\0b",
        "é",
        "A",
        "a.yaml",
        "-x",
    ];
    for name in odd.into_iter().chain(long.iter().map(String::as_str)) {
        for (namespace, name) in [("", name), (name, "a")] {
            let mut app = app("x");
            app.name = name.to_owned();
            app.namespace = namespace.to_owned();
            let stored = match store.put(&app, PutMode::Create).await {
                Ok(_) => store.get(&app.app_ref()).await?,
                Err(error) => {
                    check(error.kind() == ErrorKind::InvalidInput, || {
                        format!("{:?}: {error}", app.app_ref())
                    })?;
                    continue;
                }
            };
            equal(stored.app, app.clone())?;
            store.delete(&app.app_ref(), &forget()).await?;
        }
    }
    equal(store.list(&ListOptions::default()).await?.len(), 0)
}

/// What [`Damage`] is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The application's record.
    Application,
    /// Its status.
    Status,
}

/// A store whose records can be damaged from outside, as by a careless hand or a failing disk: for the second part of the suite.
#[async_trait]
pub trait Damage {
    /// Makes `part` of what is stored of `app`, which is there, unreadable.
    ///
    /// # Errors
    /// Whatever doing so meets.
    async fn damage(&self, app: &AppRef, part: Part) -> Result<()>;
}

async fn damaged<S: Store + Damage>(store: &S, part: Part) -> Result<()> {
    for name in ["good", "broken"] {
        store.put(&app(name), PutMode::Create).await?;
        store.put_status(&AppRef::new(name), &status()).await?;
    }
    store.damage(&AppRef::new("broken"), part).await
}

fn only(name: &str) -> ListOptions {
    ListOptions {
        selector: Selector::one(AppRef::new(name)),
        ..ListOptions::default()
    }
}

/// What cannot be read is never left out silently: `list` fails and names it, unless the caller asks for what can be read or means another.
pub async fn a_list_says_what_it_cannot_read<S: Store + Damage>(store: Arc<S>) -> Result<()> {
    damaged(&*store, Part::Application).await?;
    refused(
        store.get(&AppRef::new("broken")).await,
        ErrorKind::Integrity,
    )?;
    refused(store.list(&only("broken")).await, ErrorKind::Integrity)?;
    match store.list(&ListOptions::default()).await {
        Err(error) if error.kind() == ErrorKind::Integrity => {
            check(error.to_string().contains("broken"), || error.to_string())?
        }
        answer => return Err(Error::failed(format!("it was not refused: {answer:?}"))),
    }
    equal(store.list(&only("good")).await?.len(), 1)?;
    let readable = ListOptions {
        readable_only: true,
        ..ListOptions::default()
    };
    let names: Vec<_> = store.list(&readable).await?;
    let names: Vec<_> = names.into_iter().map(|stored| stored.app.name).collect();
    equal(names, ["good"])
}

/// A damaged record can be replaced, by who means to: `Upsert`.
pub async fn what_cannot_be_read_can_be_replaced<S: Store + Damage>(store: Arc<S>) -> Result<()> {
    damaged(&*store, Part::Application).await?;
    let name = AppRef::new("broken");
    refused(store.suspend(&name).await, ErrorKind::Integrity)?;
    refused(
        store.put(&app("broken"), PutMode::Create).await,
        ErrorKind::AlreadyExists,
    )?;
    let version = crate::store::version(&app("broken"));
    refused(
        store.put(&app("broken"), PutMode::Update(version)).await,
        ErrorKind::Conflict,
    )?;
    refused(store.get(&name).await, ErrorKind::Integrity)?;
    let outcome = store.put(&app("broken"), PutMode::Upsert).await?;
    check(!outcome.created && outcome.changed, || {
        format!("{outcome:?}")
    })?;
    let stored = store.get(&name).await?;
    equal(
        (stored.app, stored.version),
        (app("broken"), outcome.version),
    )?;
    // It was not damaged.
    equal(stored.status, Some(status()))?;
    equal(store.list(&ListOptions::default()).await?.len(), 2)
}

/// A damaged record can be deleted, and goes whole.
pub async fn what_cannot_be_read_can_be_deleted<S: Store + Damage>(store: Arc<S>) -> Result<()> {
    damaged(&*store, Part::Application).await?;
    let name = AppRef::new("broken");
    store.delete(&name, &forget()).await?;
    refused(store.get(&name).await, ErrorKind::NotFound)?;
    equal(store.list(&ListOptions::default()).await?.len(), 1)?;
    store.put(&app("broken"), PutMode::Create).await?;
    equal(store.status(&name).await?, None)
}

/// A damaged status is an error where it is asked for, and nowhere else, until it is replaced.
pub async fn a_status_that_cannot_be_read_is_an_error_until_it_is_replaced<S: Store + Damage>(
    store: Arc<S>,
) -> Result<()> {
    damaged(&*store, Part::Status).await?;
    let name = AppRef::new("broken");
    refused(store.status(&name).await, ErrorKind::Integrity)?;
    refused(store.get(&name).await, ErrorKind::Integrity)?;
    let with_status = ListOptions {
        with_status: true,
        ..ListOptions::default()
    };
    refused(store.list(&with_status).await, ErrorKind::Integrity)?;
    equal(store.list(&ListOptions::default()).await?.len(), 2)?;
    store.suspend(&name).await?;
    refused(store.status(&name).await, ErrorKind::Integrity)?;
    store.put_status(&name, &status()).await?;
    let stored = store.get(&name).await?;
    equal(
        (stored.app.suspended, stored.status),
        (true, Some(status())),
    )?;
    equal(store.list(&with_status).await?.len(), 2)
}

/// Of many that create one name with different specifications, one wins.
pub async fn one_of_many_creations_wins<S: Store>(store: Arc<S>) -> Result<()> {
    let mut tasks = Vec::new();
    for number in 0..8 {
        let store = store.clone();
        let app = app("a").in_namespace(format!("n{number}"));
        tasks.push(tokio::spawn(async move {
            (store.put(&app, PutMode::Create).await, app)
        }));
    }
    let mut winners = Vec::new();
    for task in tasks {
        match task
            .await
            .map_err(|error| Error::failed(error.to_string()))?
        {
            (Ok(_), app) => winners.push(app),
            (result, _) => refused(result, ErrorKind::AlreadyExists)?,
        }
    }
    equal(winners.len(), 1)?;
    equal(Some(store.get(&AppRef::new("a")).await?.app), winners.pop())
}

/// Eight writers that each add labels by reading and updating: every label is there.
pub async fn no_update_is_lost<S: Store>(store: Arc<S>) -> Result<()> {
    store.put(&app("a"), PutMode::Create).await?;
    let mut tasks = Vec::new();
    for writer in 0..8 {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            for number in 0..5 {
                loop {
                    let stored = store.get(&AppRef::new("a")).await?;
                    let mut app = stored.app;
                    app.labels.insert(format!("w{writer}-{number}"), "1".into());
                    match store.put(&app, PutMode::Update(stored.version)).await {
                        Ok(_) => break,
                        Err(error) if error.kind() == ErrorKind::Conflict => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            Ok(())
        }));
    }
    for task in tasks {
        task.await
            .map_err(|error| Error::failed(error.to_string()))??;
    }
    equal(store.get(&AppRef::new("a")).await?.app.labels.len(), 40)
}

/// Nothing of a full application is lost.
pub async fn everything_of_an_application_is_kept<S: Store>(store: Arc<S>) -> Result<()> {
    let full = full()?;
    store.put(&full, PutMode::Create).await?;
    equal(store.get(&full.app_ref()).await?.app, full)
}

/// An application that uses every part of the model, with texts and numbers that careless formats change.
fn full() -> Result<Application> {
    let value = json!({
        "name": "full", "namespace": "team", "project": "default", "suspended": true, "revisionHistoryLimit": 3,
        "labels": {"on": "yes", "n": "1_000"},
        "annotations": {"note": "yes: 0644 # \"x\"\n", "block": "a\n  b\r\n\tc\n\n", "empty": "", "null": "null", "é": "\u{1F600}\u{85}\u{2028}"},
        "finalizers": ["resources-finalizer.argocd.argoproj.io"],
        "sources": [
            {
                "repoUrl": "git@git.example.com:values.git", "kind": "git", "targetRevision": "1.10", "path": ".", "ref": "values", "name": "0x1F",
                "render": {"directory": {"recurse": true, "include": "{a,b}/*.yaml", "exclude": "*.json", "jsonnet": {
                    "extVars": [{"name": "a", "value": "1", "code": true}], "tlas": [{"name": "b", "value": "~"}], "libs": ["lib"],
                }}},
            },
            {
                "repoUrl": "https://charts.example.com", "kind": "helm", "targetRevision": "^1.2", "chart": "web",
                "render": {"helm": {
                    "releaseName": "r", "valueFiles": ["$values/a.yaml"], "ignoreMissingValueFiles": true, "values": "a: 1\nb: |\n  x\n",
                    "valuesObject": {"z": 1, "a": {"float": 0.1, "big": 9_007_199_254_740_993_i64, "none": null, "list": [true, "true", 1e300]}},
                    "parameters": [{"name": "image.tag", "value": "012", "forceString": true}], "fileParameters": [{"name": "f", "path": "p"}],
                    "version": "v3", "passCredentials": true, "skipCrds": true, "skipTests": true, "skipSchemaValidation": true, "namespace": "n",
                    "kubeVersion": "1.30", "apiVersions": ["apps/v1"],
                }},
            },
            {
                "repoUrl": "https://git.example.com/k.git", "kind": "git",
                "render": {"kustomize": {
                    "namePrefix": "p-", "nameSuffix": "-s", "images": ["a=b:1.0"], "commonLabels": {"a": "b"}, "forceCommonLabels": true,
                    "labelWithoutSelector": true, "labelIncludeTemplates": true, "commonAnnotations": {"c": "d"}, "forceCommonAnnotations": true,
                    "commonAnnotationsEnvsubst": true, "namespace": "n", "replicas": [{"name": "web", "count": "3"}, {"name": "api", "count": 2}],
                    "patches": [{"patch": "- op: remove\n  path: /a\n", "target": {"kind": "Deployment"}}], "components": ["../c"],
                    "ignoreMissingComponents": true, "version": "v5", "kubeVersion": "1.30", "apiVersions": ["apps/v1"],
                }},
            },
            {
                "repoUrl": "oci://registry.example.com/x", "kind": "oci",
                "render": {"plugin": {"name": "cmp", "env": [{"name": "A", "value": "off"}], "parameters": [
                    {"name": "s", "string": ""}, {"name": "a", "array": []}, {"name": "m", "map": {"k": "v"}},
                ]}},
            },
        ],
        "hydrate": {
            "drySource": {"repoUrl": "https://git.example.com/dry.git", "kind": "git", "path": "dry", "render": "auto"},
            "syncBranch": "env/prod", "syncPath": "out", "hydrateToBranch": "env/prod-next",
        },
        "destination": {"cluster": {"server": "https://k8s.example.com:6443"}, "namespace": "shop"},
        "syncPolicy": {
            "automated": {"prune": true, "selfHeal": true, "allowEmpty": true, "enabled": false},
            "syncOptions": ["CreateNamespace=true"],
            "retry": {"limit": -1, "refresh": true, "backoff": {
                "duration": {"secs": 5, "nanos": 1}, "factor": 3, "maxDuration": {"secs": 180, "nanos": 0},
            }},
            "managedNamespaceMetadata": {"labels": {"l": "1"}, "annotations": {"a": "2"}},
        },
        "ignoreDifferences": [{
            "group": "*", "kind": "*", "name": "n", "namespace": "m", "jsonPointers": ["/spec/a~1b"], "jqPathExpressions": [".a[] | select(.b == \"c\")"],
            "managedFieldsManagers": ["kube-controller-manager"],
        }],
        "info": [{"name": "url", "value": "https://example.com"}],
    });
    let app: Application = serde_json::from_value(value.clone())
        .map_err(|error| Error::internal("the suite's application").with_source(error))?;
    // What the model does not know would not be tested.
    equal(serde_json::to_value(&app).ok(), Some(value))?;
    Ok(app)
}
