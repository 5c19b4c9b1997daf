//! Application sets, evaluated here and by Argo CD's server: by its command, and by the same call through the client.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use e2e::ArgoCd;
use futures::{StreamExt, TryStreamExt};
use gitops_argocd::generate::{GitSetSources, generate};
use gitops_argocd::rest::ArgoCd as Client;
use gitops_argocd::types::{AppProject, Application, ApplicationSet, Destination};
use gitops_core::manifest::yaml;
use gitops_git::credential::StaticCredential;
use gitops_git::{GitClient, RepositoryOptions};
use serde_json::{Value, json};

use super::support::{PATIENCE, repository, rest};

/// What the corpus expects of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Equal,
    /// Argo CD's order changes.
    Unordered,
    Refused,
    HereOnly,
    ServerOnly,
}

/// The differences that are documented, and why they are there.
const DIFFERENCES: [(&str, &str); 3] = [
    (
        "project",
        "a project that is a placeholder: Argo CD's API refuses it, its controller does not",
    ),
    ("clusters", "only a server knows its clusters"),
    ("go-template", "Go templates are left to the server"),
];

/// The repositories of Argo CD's own examples.
const EXAMPLE_REPOSITORIES: [&str; 2] = [
    "https://github.com/argoproj/argo-cd.git",
    "https://github.com/infra-team/cluster-deployments.git",
];

struct Set {
    name: String,
    class: Class,
    document: Value,
}

/// What came of a set: its applications, or why there are none.
type Outcome = Result<Vec<Value>, String>;

fn folder() -> PathBuf {
    e2e::workspace_dir().join("gitops-argocd/tests")
}

/// The files of a folder, by their paths below `name`.
fn files(root: &Path, name: &str) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.join(name)];
    while let Some(at) = folders.pop() {
        for entry in
            std::fs::read_dir(&at).with_context(|| format!("cannot read {}", at.display()))?
        {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let below = path
                .strip_prefix(root)?
                .to_str()
                .context("a name that is no text")?;
            found.insert(below.to_owned(), text);
        }
    }
    Ok(found)
}

async fn pushed(argocd: &ArgoCd, name: &str, files: &BTreeMap<String, String>) -> Result<String> {
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect();
    Ok(repository(argocd, name, &files).await?.http_url)
}

fn names<'a>(corpus: &'a Value, at: &str) -> Result<Vec<&'a str>> {
    let list = corpus
        .pointer(at)
        .and_then(Value::as_array)
        .with_context(|| format!("no {at} in the corpus"))?;
    list.iter()
        .map(|name| name.as_str().context("a name that is no text"))
        .collect()
}

fn parsed(name: &str, text: &str) -> Result<Value> {
    yaml::parse_value(name, text.as_bytes()).with_context(|| format!("cannot read {name}"))
}

/// The sets of this workspace.
async fn own(argocd: &ArgoCd, corpus: &Value) -> Result<Vec<Set>> {
    let folder = folder().join("sets");
    let all = files(&folder, "repository")?
        .into_iter()
        .map(|(path, text)| (path.trim_start_matches("repository/").to_owned(), text))
        .collect();
    let url = pushed(argocd, "sets", &all).await?;
    let mut sets = Vec::new();
    for (field, class) in [
        ("equal", Class::Equal),
        ("unordered", Class::Unordered),
        ("refused", Class::Refused),
        ("hereOnly", Class::HereOnly),
        ("serverOnly", Class::ServerOnly),
    ] {
        for name in names(corpus, &format!("/own/{field}"))? {
            let text = std::fs::read_to_string(folder.join(format!("{name}.yaml")))?;
            let document = parsed(name, &text.replace("REPO_URL", &url))?;
            sets.push(Set {
                name: name.to_owned(),
                class,
                document,
            });
        }
    }
    Ok(sets)
}

/// Argo CD's own examples, and the projects that they name.
async fn examples(argocd: &ArgoCd, client: &Client, corpus: &Value) -> Result<Vec<Set>> {
    let module = e2e::module_dir("github.com/argoproj/argo-cd/v3")?;
    let url = pushed(
        argocd,
        "examples",
        &files(&module, "applicationset/examples")?,
    )
    .await?;
    let mut sets = Vec::new();
    for (field, class, project) in [
        ("equal", Class::Equal, None),
        ("withProject", Class::Equal, Some("default")),
        ("refusedWithProject", Class::Refused, Some("default")),
    ] {
        for name in names(corpus, &format!("/argoCd/{field}"))? {
            let mut text =
                std::fs::read_to_string(module.join("applicationset/examples").join(name))?;
            for repository in EXAMPLE_REPOSITORIES {
                text = text.replace(repository, &url);
            }
            let mut document = parsed(name, &text)?;
            let named = &mut document["spec"]["template"]["spec"]["project"];
            if let Some(project) = project {
                *named = json!(project);
            }
            let named = named.as_str().context("no project")?.to_owned();
            if named != "default" {
                let project = AppProject::new(named)
                    .source_repo("*")
                    .destination(Destination::server("*").namespace("*"));
                client.create_project(&project, true).await?;
            }
            sets.push(Set {
                name: name.to_owned(),
                class,
                document,
            });
        }
    }
    Ok(sets)
}

/// Without what Go leaves out. Helm's values are the user's own, and stay.
fn pruned(value: &Value) -> Option<Value> {
    match value {
        Value::Null | Value::Bool(false) => None,
        Value::Number(number) if number.as_f64() == Some(0.0) => None,
        Value::String(text) if text.is_empty() => None,
        Value::Array(items) if items.is_empty() => None,
        // An item keeps its place.
        Value::Array(items) => Some(
            items
                .iter()
                .map(|item| pruned(item).unwrap_or_default())
                .collect(),
        ),
        Value::Object(fields) => {
            let kept: serde_json::Map<_, _> = fields
                .iter()
                .filter_map(|(key, value)| {
                    let value = if key == "valuesObject" {
                        Some(value.clone())
                    } else {
                        pruned(value)
                    };
                    Some((key.clone(), value?))
                })
                .collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        _ => Some(value.clone()),
    }
}

/// What is compared of an application: all but `apiVersion`, `kind`, `status`, and the metadata that only a server gives.
fn essence(application: &Value) -> Value {
    let mut metadata = application["metadata"].clone();
    if let Some(fields) = metadata.as_object_mut() {
        fields.remove("creationTimestamp");
    }
    let rest: serde_json::Map<_, _> = application
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| !matches!(key.as_str(), "apiVersion" | "kind" | "status" | "metadata"))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let whole = json!({"metadata": metadata, "fields": rest});
    pruned(&whole).unwrap_or_default()
}

fn essences(applications: &[Application]) -> Result<Vec<Value>> {
    applications
        .iter()
        .map(|one| Ok(essence(&serde_json::to_value(one)?)))
        .collect()
}

/// The command prints one application as itself, more of them as a list or one after another.
fn printed(text: &str) -> Result<Vec<Value>> {
    let mut applications = Vec::new();
    for document in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        match document? {
            Value::Array(items) => applications.extend(items),
            Value::Null => {}
            other => match other["items"].as_array() {
                Some(items) => applications.extend(items.iter().cloned()),
                None => applications.push(other),
            },
        }
    }
    Ok(applications.iter().map(essence).collect())
}

/// How far a server got with a set: a refusal of its own, not a failure on the way.
fn answered(error: &str) -> bool {
    ![
        "connection",
        "deadline",
        "timeout",
        "does not exist",
        "permission denied",
    ]
    .iter()
    .any(|part| error.contains(part))
}

struct Compared {
    name: String,
    class: Class,
    here: Outcome,
    command: Outcome,
    client: Outcome,
}

async fn compare(
    argocd: &ArgoCd,
    client: &Client,
    git: &GitClient,
    dir: &Path,
    set: Set,
) -> Result<Compared> {
    let typed: ApplicationSet = serde_json::from_value(set.document.clone())
        .with_context(|| format!("{}: no set", set.name))?;
    let here = generate(&typed, &GitSetSources::new(git.clone())).await;
    let here = match here {
        Ok(applications) => Ok(essences(&applications)?),
        Err(error) => Err(format!("{}: {error}", error.kind().as_str())),
    };
    let there = client.generate_applications(&typed).await;
    let there = match there {
        Ok(applications) => Ok(essences(&applications)?),
        Err(error) => Err(format!("{}: {error}", error.kind().as_str())),
    };
    let file = dir.join(format!("{}.json", set.name.replace('/', "-")));
    tokio::fs::write(&file, set.document.to_string()).await?;
    let arguments = ["appset", "generate", &file.to_string_lossy(), "-o", "json"];
    let command = tokio::time::timeout(PATIENCE, argocd.run_cli(&arguments))
        .await
        .with_context(|| format!("{}: the command does not end", set.name))?;
    let command =
        match command {
            Ok(text) => Ok(printed(&text)
                .with_context(|| format!("{}: the command prints {text}", set.name))?),
            Err(error) => Err(format!("{error:#}")),
        };
    for refusal in [command.as_ref().err(), there.as_ref().err()]
        .into_iter()
        .flatten()
    {
        ensure!(answered(refusal), "{}: {refusal}", set.name);
    }
    Ok(Compared {
        name: set.name,
        class: set.class,
        here,
        command,
        client: there,
    })
}

fn sorted(outcome: &Outcome) -> Outcome {
    let mut applications = outcome.clone()?;
    applications.sort_by_key(Value::to_string);
    Ok(applications)
}

fn homeless(mut application: Value) -> Value {
    if let Some(metadata) = application["metadata"].as_object_mut() {
        metadata.remove("namespace");
    }
    application
}

/// What is different, if anything is.
fn difference(compared: &Compared) -> Option<String> {
    let order: fn(&Outcome) -> Outcome = match compared.class {
        Class::Unordered => sorted,
        _ => Clone::clone,
    };
    let here = order(&compared.here);
    // The command prints no namespace.
    let printed: Outcome = here
        .clone()
        .map(|applications| applications.into_iter().map(homeless).collect());
    for (way, here, there) in [
        ("the command", order(&printed), order(&compared.command)),
        ("the client", here, order(&compared.client)),
    ] {
        match (&here, &there) {
            (Err(_), Err(_)) => {}
            (Ok(here), Ok(there)) if here == there => {}
            (Ok(here), Ok(there)) => {
                let at = here
                    .iter()
                    .zip(there)
                    .position(|(a, b)| a != b)
                    .unwrap_or(here.len().min(there.len()));
                let show = |side: &[Value]| {
                    side.get(at)
                        .map_or_else(|| "nothing".to_owned(), Value::to_string)
                };
                return Some(format!(
                    "application {at} of {} here, {} by {way}:\n    here  {}\n    there {}",
                    here.len(),
                    there.len(),
                    show(here),
                    show(there),
                ));
            }
            (Ok(here), Err(error)) => {
                return Some(format!(
                    "{} applications here, refused by {way}: {}",
                    here.len(),
                    short(error)
                ));
            }
            (Err(error), Ok(there)) => {
                return Some(format!(
                    "refused here, {} applications by {way}: {}",
                    there.len(),
                    short(error)
                ));
            }
        }
    }
    None
}

/// The line of an error that says why.
fn short(error: &str) -> String {
    let line = error
        .lines()
        .rfind(|line| line.contains("error") || line.contains("desc"))
        .unwrap_or(error);
    line.chars().take(220).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn sets_make_here_what_the_server_generates() -> Result<()> {
    let argocd = e2e::argocd().await?;
    let gitea = e2e::gitea().await?;
    let client = rest(argocd)?;
    let corpus = parsed(
        "corpus.yaml",
        &std::fs::read_to_string(folder().join("corpus.yaml"))?,
    )?;
    let mut sets = own(argocd, &corpus).await?;
    sets.extend(examples(argocd, &client, &corpus).await?);

    let dir = tempfile::tempdir()?;
    let options = RepositoryOptions::default()
        .cache_dir(dir.path().join("cache"))
        .credentials(StaticCredential::basic(
            &gitea.url,
            &*gitea.user,
            &*gitea.password,
        )?);
    let git = GitClient::new(options)?;
    let all: Vec<Compared> = futures::stream::iter(sets)
        .map(|set| compare(argocd, &client, &git, dir.path(), set))
        .buffered(3)
        .try_collect()
        .await?;

    let mut found = Vec::new();
    let mut applications = 0;
    for one in &all {
        match &one.here {
            Ok(made) => applications += made.len(),
            Err(error) => println!("  {}: refused here: {}", one.name, short(error)),
        }
        if let (Err(command), Err(client)) = (&one.command, &one.client) {
            println!(
                "  {}: refused by the command: {}\n    by the client: {}",
                one.name,
                short(command),
                short(client)
            );
        }
        // What is documented as refused is refused, and nothing else is.
        if one.class == Class::Refused && one.here.is_ok() {
            found.push((one, "not refused here".to_owned()));
        } else if matches!(one.class, Class::Equal | Class::Unordered) && one.here.is_err() {
            found.push((one, "refused here".to_owned()));
        } else if let Some(difference) = difference(one) {
            found.push((one, difference));
        }
    }
    println!(
        "{} sets compared ({applications} applications), {} equal, {} differences",
        all.len(),
        all.len() - found.len(),
        found.len()
    );
    let mut undocumented = Vec::new();
    for (one, difference) in &found {
        let reason = DIFFERENCES
            .iter()
            .find(|(name, _)| *name == one.name)
            .map(|(_, reason)| *reason);
        println!(
            "{}: {difference}\n  because: {}",
            one.name,
            reason.unwrap_or("?")
        );
        if reason.is_none() || !matches!(one.class, Class::HereOnly | Class::ServerOnly) {
            undocumented.push(&one.name);
        }
    }
    assert!(undocumented.is_empty(), "{undocumented:?}");
    assert_eq!(
        found.len(),
        DIFFERENCES.len(),
        "a documented difference is none any more"
    );
    assert!(all.len() >= 40, "{}", all.len());
    Ok(())
}
