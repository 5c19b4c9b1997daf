//! Argo CD's own manifests, examples and documentation, read into the types of gitops-argocd and written again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use gitops_argocd::types::{
    AppProject, Application, ApplicationSet, CompareOption, HookDeletePolicy, HookType, SyncOption,
    annotation, finalizer,
};
use gitops_core::manifest::yaml;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

type RoundTrip = fn(Value) -> Result<Value, serde_json::Error>;

fn round_trip<T: DeserializeOwned + Serialize>(
    document: Value,
) -> Result<Value, serde_json::Error> {
    serde_json::to_value(serde_json::from_value::<T>(document)?)
}

/// The kinds, and how many documents of each there are at least.
const KINDS: [(&str, RoundTrip, usize); 3] = [
    ("Application", round_trip::<Application>, 95),
    ("AppProject", round_trip::<AppProject>, 20),
    ("ApplicationSet", round_trip::<ApplicationSet>, 120),
];

/// What cannot be read: where it is, and why.
const UNREADABLE: &[(&str, &str)] = &[
    (
        "docs/operator-manual/app-sync-using-impersonation.md:89",
        "a destination is a text",
    ),
    (
        "docs/operator-manual/applicationset/Appset-Any-Namespace.md:164",
        "the generators are no list",
    ),
    (
        "docs/operator-manual/applicationset/Generators-Plugin.md:20",
        "no YAML: quotes within quotes",
    ),
    (
        "docs/operator-manual/applicationset/Generators-Plugin.md:231",
        "`github: ...`",
    ),
    (
        "docs/operator-manual/applicationset.yaml",
        "the source is a list",
    ),
    (
        "docs/operator-manual/cluster-bootstrapping.md:41",
        "a template of Helm",
    ),
    (
        "docs/operator-manual/cluster-bootstrapping.md:113",
        "`spec: ...`",
    ),
    (
        "docs/operator-manual/notifications/services/rocketchat.md:58",
        "an annotation without a value: the text after `#` is a comment",
    ),
    (
        "docs/operator-manual/notifications/services/telegram.md:30",
        "an annotation that is a number",
    ),
    (
        "docs/proposals/decouple-application-sync-user-using-impersonation.md:88",
        "a destination is a text",
    ),
    (
        "docs/proposals/decouple-application-sync-user-using-impersonation.md:609",
        "a key twice",
    ),
    (
        "docs/proposals/project-repos-and-clusters.md:68",
        "no YAML: `****` is no alias",
    ),
    (
        "docs/proposals/sync-timeout.md:63",
        "no YAML: `...` among keys",
    ),
    (
        "docs/user-guide/kustomize.md:149",
        "no YAML: `...` among keys",
    ),
    (
        "docs/user-guide/projects.md:151",
        "no YAML: `...` among keys",
    ),
    ("docs/user-guide/sync-kubectl.md:12", "`spec: ...`"),
    (
        "docs/user-guide/sync-options.md:447",
        "an annotation that is a number",
    ),
    (
        "docs/user-guide/tool_detection.md:9",
        "no YAML: `...` among keys",
    ),
    (
        "test/e2e/testdata/declarative-apps/app.yaml",
        "a template of Go",
    ),
    (
        "test/e2e/testdata/declarative-apps/invalid-helm.yaml",
        "a template of Go",
    ),
];

/// Required fields: they are written, empty, where a document has left them out, as Go writes them.
const REQUIRED: &[&str] = &[
    "destination",
    "generators",
    "metadata",
    "project",
    "repoURL",
    "revision",
    "spec",
    "template",
];

/// A text with documents, and where it is.
struct Text {
    /// The file; for a block, with its first line.
    place: String,
    text: Vec<u8>,
}

/// Files of the module that may hold manifests; blocks of YAML in its Markdown.
fn texts(root: &Path) -> Result<Vec<Text>> {
    let mut folders = vec![root.to_owned()];
    let mut files: Vec<PathBuf> = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => folders.push(entry.path()),
                false => files.push(entry.path()),
            }
        }
    }
    files.sort();
    let mut texts = Vec::new();
    for file in files {
        let place = file.strip_prefix(root)?.display().to_string();
        let read = || fs::read(&file).with_context(|| place.clone());
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("yaml" | "yml" | "json") => {
                let text = read()?;
                texts.push(Text { place, text });
            }
            Some("md") => texts.extend(blocks(&place, &String::from_utf8(read()?)?)),
            _ => {}
        }
    }
    // Cheap, before anything is parsed.
    texts.retain(|text| String::from_utf8_lossy(&text.text).contains("argoproj.io/"));
    Ok(texts)
}

/// The fenced blocks of YAML in a text of Markdown.
fn blocks(place: &str, text: &str) -> Vec<Text> {
    let mut blocks: Vec<Text> = Vec::new();
    let mut inside: Option<(usize, bool)> = None;
    for (number, line) in text.lines().enumerate() {
        let bare = line.trim_start();
        let indent = line.len() - bare.len();
        match (inside, bare.strip_prefix("```")) {
            (None, Some(language)) => {
                let wanted = matches!(language.trim(), "yaml" | "yml" | "json");
                inside = Some((indent, wanted));
                if wanted {
                    blocks.push(Text {
                        place: format!("{place}:{}", number + 2),
                        text: Vec::new(),
                    });
                }
            }
            (Some(_), Some(_)) => inside = None,
            (Some((indent, true)), None) => {
                if let Some(block) = blocks.last_mut() {
                    let cut = indent.min(line.len() - bare.len());
                    block.text.extend_from_slice(&line.as_bytes()[cut..]);
                    block.text.push(b'\n');
                }
            }
            _ => {}
        }
    }
    blocks
}

/// The documents, and the items of lists.
fn documents(value: Value, found: &mut Vec<Value>) {
    match value {
        Value::Object(mut map) if map.get("items").is_some_and(Value::is_array) => {
            if let Some(Value::Array(items)) = map.remove("items") {
                items.into_iter().for_each(|item| documents(item, found));
            }
        }
        value => found.push(value),
    }
}

/// Where `written` does not have what `read` has, and where it has more; `null` is what is not there.
fn compare(
    path: &str,
    read: &Value,
    written: &Value,
    lost: &mut Vec<String>,
    more: &mut Vec<(String, Value)>,
) {
    match (read, written) {
        (Value::Object(read), Value::Object(written)) => {
            for (key, read) in read.iter().filter(|(_, read)| !read.is_null()) {
                let path = format!("{path}.{key}");
                match written.get(key) {
                    Some(written) => compare(&path, read, written, lost, more),
                    None => lost.push(format!("{path}: {read} is lost")),
                }
            }
            for (key, written) in written {
                if read.get(key).is_none_or(Value::is_null) {
                    more.push((format!("{path}.{key}"), written.clone()));
                }
            }
        }
        (Value::Array(read), Value::Array(written)) if read.len() == written.len() => {
            for (at, (read, written)) in read.iter().zip(written).enumerate() {
                compare(&format!("{path}[{at}]"), read, written, lost, more);
            }
        }
        _ if read == written => {}
        _ => lost.push(format!("{path}: {read} became {written}")),
    }
}

/// Adds the names of all fields of what was added; whether all of it is empty.
fn added(name: &str, value: &Value, names: &mut BTreeSet<String>) -> bool {
    names.insert(name.to_owned());
    match value {
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.iter().all(|(key, value)| added(key, value, names)),
        _ => false,
    }
}

#[test]
fn argo_cds_documents_come_back_as_they_were() -> Result<()> {
    let root = e2e::module_dir("github.com/argoproj/argo-cd/v3")?;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut wrong, mut excused, mut names) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    let mut unreadable = |place: &str, error: String, wrong: &mut Vec<String>| match UNREADABLE
        .iter()
        .find(|(known, _)| place.starts_with(known))
    {
        Some((known, _)) => {
            excused.insert(*known);
        }
        None => wrong.push(format!("{place}: {error}")),
    };
    for Text { place, text } in texts(&root)? {
        let values = match yaml::parse_values(&place, &text) {
            Ok(values) => values,
            Err(error) => {
                unreadable(&place, error.to_string(), &mut wrong);
                continue;
            }
        };
        let mut found = Vec::new();
        for value in values {
            documents(value.value, &mut found);
        }
        for document in found {
            let text = |key| document[key].as_str().unwrap_or_default();
            if !text("apiVersion").starts_with("argoproj.io/") {
                continue;
            }
            let Some((kind, round_trip, _)) = KINDS.iter().find(|(kind, ..)| *kind == text("kind"))
            else {
                continue;
            };
            let written = match round_trip(document.clone()) {
                Ok(written) => written,
                Err(error) => {
                    unreadable(&place, error.to_string(), &mut wrong);
                    continue;
                }
            };
            *counts.entry(kind).or_default() += 1;
            let (mut lost, mut more) = (Vec::new(), Vec::new());
            compare("", &document, &written, &mut lost, &mut more);
            for (path, value) in more {
                let name = path.rsplit('.').next().unwrap_or_default();
                if !added(name, &value, &mut names) {
                    lost.push(format!("{path}: {value} was not there"));
                }
            }
            wrong.extend(
                lost.into_iter()
                    .map(|lost| format!("{place}: {kind}{lost}")),
            );
        }
    }
    println!("documents: {counts:?}; required fields that some left out: {names:?}");
    for (place, why) in UNREADABLE {
        println!("not read: {place}: {why}");
        if !excused.contains(place) {
            wrong.push(format!("{place} is listed as unreadable, and is not"));
        }
    }
    let unexpected = names
        .iter()
        .filter(|name| !REQUIRED.contains(&name.as_str()));
    wrong.extend(unexpected.map(|name| format!("{name} is written where it was not there")));
    assert!(
        wrong.is_empty(),
        "{}\n{} are wrong",
        wrong.join("\n"),
        wrong.len()
    );
    for (kind, _, least) in KINDS {
        let count = counts.get(kind).copied().unwrap_or_default();
        assert!(
            count >= least,
            "{count} documents of {kind}, expected {least}"
        );
    }
    Ok(())
}

fn source(module: &str, files: &[&str]) -> Result<String> {
    let root = e2e::module_dir(module)?;
    files
        .iter()
        .map(|file| fs::read_to_string(root.join(file)).with_context(|| (*file).to_owned()))
        .collect()
}

#[test]
fn annotations_and_finalizers_are_argo_cds() -> Result<()> {
    let known = source(
        "github.com/argoproj/argo-cd/v3",
        &[
            "common/common.go",
            "pkg/apis/application/v1alpha1/application_annotations.go",
            "pkg/apis/application/v1alpha1/application_defaults.go",
            "ui/src/app/shared/models.ts",
        ],
    )? + &source(
        "github.com/argoproj/gitops-engine",
        &["pkg/sync/common/types.go", "pkg/sync/hook/hook.go"],
    )?;
    let keys = [
        annotation::SYNC_WAVE,
        annotation::HOOK,
        annotation::HOOK_DELETE_POLICY,
        annotation::SYNC_OPTIONS,
        annotation::COMPARE_OPTIONS,
        annotation::IGNORE_HEALTHCHECK,
        annotation::TRACKING_ID,
        annotation::INSTALLATION_ID,
        annotation::LINK_PREFIX,
        annotation::REFRESH,
        annotation::HYDRATE,
        annotation::MANIFEST_GENERATE_PATHS,
        annotation::DELETION_APPROVED,
        annotation::SKIP_RECONCILE,
        annotation::CLIENT_SIDE_APPLY_MIGRATION_MANAGER,
        annotation::DEFAULT_VIEW,
        annotation::DEFAULT_POD_SORT,
        annotation::APPLICATION_SET_REFRESH,
        finalizer::RESOURCES,
        finalizer::RESOURCES_FOREGROUND,
        finalizer::RESOURCES_BACKGROUND,
        finalizer::POST_DELETE,
        finalizer::HOOK,
    ];
    for key in keys {
        let quoted = [format!("\"{key}\""), format!("'{key}'")];
        assert!(
            quoted.iter().any(|quoted| known.contains(quoted)),
            "{key} is in none of Argo CD's sources"
        );
    }
    // Those that the sources have in no single constant.
    let documented = source(
        "github.com/argoproj/argo-cd/v3",
        &["docs/user-guide/annotations-and-labels.md"],
    )?;
    assert!(documented.contains(&format!("| {} |", annotation::IGNORE_RESOURCE_UPDATES)));
    assert_eq!(
        finalizer::POST_DELETE_CLEANUP,
        format!("{}/cleanup", finalizer::POST_DELETE)
    );
    let controller = source(
        "github.com/argoproj/argo-cd/v3",
        &["controller/appcontroller.go"],
    )?;
    assert!(controller.contains("SetPostDeleteFinalizer(\"cleanup\")"));
    Ok(())
}

#[test]
fn every_option_of_argo_cd_is_known() -> Result<()> {
    let options = source(
        "github.com/argoproj/gitops-engine",
        &["pkg/sync/common/types.go"],
    )? + &source("github.com/argoproj/argo-cd/v3", &["controller/sync.go"])?;
    let quoted = |text: &str| -> Vec<String> {
        let parts = text
            .lines()
            .flat_map(|line| line.split('"').skip(1).step_by(2));
        parts.map(str::to_owned).collect()
    };
    let is_option = |text: &String| {
        let word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphabetic());
        text.starts_with(|first: char| first.is_ascii_uppercase())
            && text
                .split_once('=')
                .is_some_and(|(name, value)| word(name) && word(value))
    };
    let mut sync: BTreeSet<String> = quoted(&options).into_iter().filter(is_option).collect();
    let mut compare: BTreeSet<String> = quoted(&source(
        "github.com/argoproj/argo-cd/v3",
        &["controller/state.go"],
    )?)
    .into_iter()
    .filter(|text| is_option(text) || text == "IgnoreExtraneous")
    .filter(|text| text != "ServerSideApply=true")
    .collect();
    let documentation = source(
        "github.com/argoproj/argo-cd/v3",
        &[
            "docs/user-guide/sync-options.md",
            "docs/user-guide/compare-options.md",
            "docs/user-guide/diff-strategies.md",
        ],
    )?;
    for line in documentation.lines().map(str::trim) {
        let list = |text: &str| {
            text.split(',')
                .map(|part| part.trim().to_owned())
                .collect::<Vec<_>>()
        };
        if let Some(text) = line.strip_prefix("argocd.argoproj.io/sync-options:") {
            sync.extend(list(text));
        } else if let Some(text) = line.strip_prefix("argocd.argoproj.io/compare-options:") {
            compare.extend(list(text));
        } else if let Some(text) = line.strip_prefix("- ").map(str::to_owned)
            && is_option(&text)
        {
            sync.insert(text);
        }
    }
    println!("{} sync options: {sync:?}", sync.len());
    println!("{} compare options: {compare:?}", compare.len());
    assert!(sync.len() >= 23 && compare.len() >= 4);
    let unknown: Vec<&String> = sync
        .iter()
        .filter(|text| matches!(SyncOption::from(text.as_str()), SyncOption::Other(_)))
        .collect();
    // Documented, and read by nothing in 3.2.
    assert_eq!(unknown, ["DisableClientSideApplyMigration=true"]);
    for text in &compare {
        let option = CompareOption::from(text.as_str());
        assert!(!matches!(option, CompareOption::Other(_)), "{text}");
    }

    // `HookTypePreSync HookType = "PreSync"`.
    let constants = |kind: &str| -> Vec<&str> {
        let declared = options
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with(kind));
        let constants = declared.filter_map(|line| line.split_once(&format!(" {kind} = \"")));
        constants
            .map(|(_, value)| value.trim_end_matches('"'))
            .collect()
    };
    let hooks = constants("HookType");
    assert_eq!(hooks.len(), 5, "{hooks:?}");
    for text in hooks {
        assert!(
            !matches!(HookType::from(text), HookType::Other(_)),
            "{text}"
        );
    }
    let policies = constants("HookDeletePolicy");
    assert_eq!(policies.len(), 3, "{policies:?}");
    for text in policies {
        let policy = HookDeletePolicy::from(text);
        assert!(!matches!(policy, HookDeletePolicy::Other(_)), "{text}");
    }
    Ok(())
}
