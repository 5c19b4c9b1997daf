//! What may be a secret is not printed: values for renderers, credentials in URLs, files, objects.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use gitops_core::SecretString;
use gitops_core::application::{
    Application, ApplicationStatus, ClusterRef, Destination, HelmFileParameter, HistoryEntry,
    Hydrate, Jsonnet, JsonnetVar, Kustomize, Render, Source,
};
use gitops_core::backend::{ApplicationStore as _, PutMode, ResourceState, StatusEvent, Stored};
use gitops_core::credential::{Credential, CredentialRequest};
use gitops_core::manifest::diff::ObjectDiff;
use gitops_core::manifest::edit::{Edit, Target};
use gitops_core::manifest::render::{Fingerprint, ProgramOptions, RenderRequest};
use gitops_core::manifest::yaml::Document;
use gitops_core::manifest::{ManifestSet, Object, Origin, Tree, TreeEntry};
use gitops_core::rule::SyncContext;
use gitops_core::store::MemoryStore;
use gitops_core::validate::Context;
use serde_json::json;

const CANARY: &str = "canary-4711";

/// Nothing in `value` that may be a secret is shown, and its bytes not either.
#[track_caller]
fn hidden<T: Debug>(value: &T) {
    let shown = format!("{value:?} {value:#?}");
    let bytes = CANARY.bytes().take(4).map(|byte| byte.to_string());
    let bytes = bytes.collect::<Vec<_>>().join(", ");
    assert!(!shown.contains(CANARY), "{shown}");
    assert!(!shown.contains(&bytes), "{shown}");
    assert!(!shown.trim().is_empty());
}

fn url() -> String {
    format!("https://{CANARY}:{CANARY}@git.example.com/x.git?token={CANARY}")
}

/// With a secret wherever one may be.
fn app() -> Application {
    let helm = json!({
        "values": CANARY, "valuesObject": {"password": CANARY}, "valueFiles": [url()],
        "parameters": [{"name": "password", "value": CANARY}], "fileParameters": [{"name": "a", "path": url()}],
    });
    let plugin = json!({
        "name": "p", "env": [{"name": "TOKEN", "value": CANARY}],
        "parameters": [{"name": "a", "string": CANARY, "array": [CANARY], "map": {"k": CANARY}}],
    });
    let var = JsonnetVar {
        name: "password".into(),
        value: CANARY.into(),
        code: false,
    };
    let renders = [
        Render::Auto,
        Render::Helm(serde_json::from_value(helm).unwrap()),
        Render::Plugin(serde_json::from_value(plugin).unwrap()),
        Render::Kustomize(Box::new(Kustomize {
            patches: vec![json!({"patch": CANARY})],
            components: vec![url()],
            common_annotations: [("a".to_owned(), CANARY.to_owned())].into(),
            ..Kustomize::default()
        })),
        Render::Directory(gitops_core::application::Directory {
            jsonnet: Some(Jsonnet {
                ext_vars: vec![var.clone()],
                tlas: vec![var],
                ..Jsonnet::default()
            }),
            ..Default::default()
        }),
    ];
    let mut app = Application::new("app");
    for render in renders {
        app = app.source(Source {
            render,
            ..Source::git(url())
        });
    }
    app.hydrate = Some(Hydrate {
        dry_source: Source::git(url()),
        ..Hydrate::default()
    });
    app.destination(Destination {
        cluster: ClusterRef::Server(url()),
        ..Destination::default()
    })
}

fn status() -> ApplicationStatus {
    ApplicationStatus {
        history: vec![HistoryEntry {
            sources: app().sources,
            ..HistoryEntry::default()
        }],
        ..ApplicationStatus::default()
    }
}

fn tree() -> Tree {
    let mut tree = Tree::new("c", "", "h");
    for (path, entry) in [
        ("a", TreeEntry::File(CANARY.as_bytes().into())),
        ("b", TreeEntry::Executable(CANARY.as_bytes().into())),
    ] {
        hidden(&entry);
        tree.insert(path, entry).unwrap();
    }
    tree
}

fn secret(value: &str) -> Object {
    let value = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": value}});
    Object::new(value, None).unwrap()
}

#[test]
fn applications_and_what_holds_them() {
    let app = app();
    assert!(serde_json::to_string(&app).unwrap().contains(CANARY));
    hidden(&app);
    hidden(&status());
    hidden(&HelmFileParameter {
        name: "a".into(),
        path: url(),
    });
    hidden(&Stored {
        app: app.clone(),
        version: "1".into(),
        status: Some(status()),
    });
    hidden(&StatusEvent::Status {
        app: app.app_ref(),
        status: Box::new(status()),
    });
    hidden(&SyncContext::new(&app));
    let shown = format!("{app:?}");
    // What tells where to look is there.
    for named in ["https://git.example.com/x.git", "TOKEN", "password"] {
        assert!(shown.contains(named), "{named} is not in {shown}");
    }
}

#[tokio::test]
async fn stores_in_memory() {
    let store = MemoryStore::new();
    store.put(&app(), PutMode::Create).await.unwrap();
    hidden(&store);
}

#[test]
fn credentials_and_requests_for_them() {
    let secret = || SecretString::new(CANARY);
    hidden(&secret());
    let name = || Some(CANARY.to_owned());
    for credential in [
        Credential::Basic {
            username: CANARY.into(),
            password: secret(),
        },
        Credential::Bearer(secret()),
        Credential::SshKey {
            username: name(),
            private_key: secret(),
            passphrase: Some(secret()),
            known_hosts: Some("a host".into()),
        },
        Credential::SshAgent {
            username: name(),
            known_hosts: None,
        },
    ] {
        hidden(&credential);
    }
    let mut request = CredentialRequest::new(url(), "https", "git.example.com");
    request.username = name();
    hidden(&request);
}

#[test]
fn files_objects_and_edits() {
    hidden(&tree());
    assert!(format!("{:?}", tree()).contains("11 bytes"));
    hidden(&RenderRequest {
        tree: tree(),
        source: app().sources.remove(0),
        refs: [("values".to_owned(), tree())].into(),
        ..RenderRequest::default()
    });
    hidden(&Fingerprint::new("r", &RenderRequest::default()));
    hidden(&ProgramOptions {
        env: [("TOKEN".to_owned(), CANARY.to_owned())].into(),
        ..ProgramOptions::default()
    });
    hidden(&secret(CANARY));
    let set = ManifestSet::from_objects([secret(CANARY)]).unwrap();
    hidden(&set);
    hidden(&Context::with_manifests(&set));
    hidden(&ObjectDiff::between(
        Some(&secret("other")),
        Some(&secret(CANARY)),
    ));
    hidden(&ResourceState {
        id: secret(CANARY).id(),
        desired: Some(secret(CANARY)),
        live: Some(secret(CANARY)),
        predicted: Some(secret(CANARY)),
        hook: false,
    });
    hidden(&Document {
        value: json!({"k": CANARY}),
        origin: Origin::default(),
    });
    let (target, pointer) = (Target::Document(0), String::from("/data/k"));
    let value = json!(CANARY);
    for edit in [
        Edit::Set {
            target: target.clone(),
            pointer: pointer.clone(),
            value: value.clone(),
        },
        Edit::Append {
            target: target.clone(),
            pointer,
            value: value.clone(),
        },
        Edit::Update {
            target,
            value: value.clone(),
        },
        Edit::AppendDocument { value },
    ] {
        hidden(&edit);
    }
}

/// Every type that derives `Debug` and has a field for bytes, JSON or a URL: such a field belongs behind a `Debug` of one's own, or here with the reason.
#[test]
fn nothing_else_derives_debug_over_what_may_be_a_secret() {
    const KNOWN: [&str; 4] = [
        // A number.
        "KustomizeReplica",
        // Masked where they are made.
        "Change",
        "ObjectDiff",
        // What a program printed, inside `manifest::render`, where nothing prints it.
        "Finished",
    ];
    let mut found = Vec::new();
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = std::fs::read_to_string(file).unwrap();
        for part in text.split("#[derive(").skip(1) {
            let (traits, rest) = part.split_once(")]").unwrap();
            let item = &rest[..rest.find("\n}").unwrap_or(rest.len())];
            let suspect = item
                .lines()
                .map(str::trim)
                .filter(|line| !line.starts_with("//") && !line.contains(" fn "))
                .any(|line| {
                    let words = [
                        "Value>", "Value,", "[u8]", "Vec<u8>", "url:", "Url", "Server(",
                    ];
                    words.iter().any(|word| line.contains(word))
                });
            if traits.split(", ").any(|name| name == "Debug") && suspect {
                let mut words = item.split([' ', '{', '(', ';', '<']);
                words
                    .find(|word| ["struct", "enum"].contains(word))
                    .unwrap();
                found.push(words.next().unwrap().to_owned());
            }
        }
    }
    found.retain(|name| !KNOWN.contains(&&**name));
    assert!(found.is_empty(), "{found:?}");
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
