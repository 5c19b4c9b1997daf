//! Validators: each by a table, what must always hold by properties.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use gitops_core::application::{Application, ClusterRef, Source};
use gitops_core::manifest::{ManifestSet, Object, Origin};
use gitops_core::validate::{
    AllowedDestinations, AllowedKinds, AllowedRepositories, Context, DestinationPattern, Finding,
    InsideDestination, NoPlainTextSecrets, PinnedRevision, Validator, Validators, WellFormed,
};
use gitops_core::{Error, ErrorKind, Result};
use proptest::prelude::*;
use serde_json::{Value, json};

fn app() -> Application {
    Application::new("shop")
        .source(
            Source::git("https://example.com/org/repo")
                .path("deploy")
                .revision("main"),
        )
        .in_namespace("shop")
}

fn set(values: impl IntoIterator<Item = Value>) -> ManifestSet {
    let objects = values.into_iter().enumerate().map(|(at, value)| {
        let origin = Origin {
            file: "deploy/all.yaml".into(),
            document: at,
            line: 10 * at + 1,
            column: 1,
        };
        Object::new(value, Some(origin)).unwrap()
    });
    ManifestSet::from_objects(objects).unwrap()
}

fn find(validator: &dyn Validator, app: &Application, manifests: &ManifestSet) -> Vec<Finding> {
    let context = Context::with_manifests(manifests);
    validator
        .validate(app, &context)
        .now_or_never()
        .unwrap()
        .unwrap()
}

/// `code pointer` of each finding.
fn short(findings: &[Finding]) -> Vec<String> {
    findings
        .iter()
        .map(|finding| {
            format!(
                "{} {}",
                finding.code,
                finding.pointer.as_deref().unwrap_or_default()
            )
        })
        .collect()
}

fn on_app(validator: &dyn Validator, app: &Application) -> Vec<String> {
    short(&find(validator, app, &ManifestSet::new()))
}

fn on_object(validator: &dyn Validator, object: Value) -> Vec<String> {
    short(&find(validator, &app(), &set([object])))
}

fn config_map(name: &str, namespace: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}})
}

/// Finds what it is told, after a while.
struct Says(
    &'static str,
    Duration,
    Option<&'static str>,
    Arc<AtomicUsize>,
);

#[async_trait]
impl Validator for Says {
    fn name(&self) -> &str {
        self.0
    }
    async fn validate(&self, _: &Application, _: &Context<'_>) -> Result<Vec<Finding>> {
        tokio::time::sleep(self.1).await;
        self.3.fetch_add(1, Ordering::SeqCst);
        match self.2 {
            Some("panic") => panic!("hunter2"),
            Some("fail") => Err(Error::unavailable("nobody answers")),
            Some(code) => Ok(vec![
                Finding::error(code, "wrong"),
                Finding::warning("odd", "odd"),
            ]),
            None => Ok(Vec::new()),
        }
    }
}

fn says(name: &'static str, ms: u64, what: Option<&'static str>) -> Says {
    Says(name, Duration::from_millis(ms), what, Arc::default())
}

#[tokio::test(start_paused = true)]
async fn all_findings_come_back_in_order_and_at_once() {
    let mut validators = Validators::new();
    validators
        .add_validator(says("slow", 200, Some("first")))
        .add_validator(says("panics", 0, Some("panic")))
        .add_validator(says("fails", 200, Some("fail")))
        .add_validator(says("quick", 0, Some("last")));
    let start = tokio::time::Instant::now();
    let report = validators.validate(&app(), &Context::default()).await;
    assert!(
        start.elapsed() < Duration::from_millis(390),
        "one after the other"
    );
    assert_eq!(short(&report.findings), ["first ", "odd ", "last ", "odd "]);
    let failures: Vec<_> = report
        .failures
        .iter()
        .map(|(name, error)| (name.as_str(), error.kind()))
        .collect();
    assert_eq!(
        failures,
        [
            ("panics", ErrorKind::Internal),
            ("fails", ErrorKind::Unavailable)
        ]
    );
    assert!(!report.is_valid());
    let text = report.to_string();
    assert!(!text.contains("hunter2"), "{text}");
    assert!(text.ends_with("shop: 4 errors, 2 warnings"), "{text}");
    // Not to have looked is worse than what others found.
    assert_eq!(
        report.into_result().unwrap_err().kind(),
        ErrorKind::Internal
    );
}

#[tokio::test]
async fn validation_may_run_in_a_task_of_its_own() {
    let validators = Arc::new(Validators::new().validator(says("one", 0, Some("x"))));
    let task = tokio::spawn(async move {
        let report = validators.validate(&app(), &Context::default()).await;
        report.findings.is_empty()
    });
    assert!(!task.await.unwrap());
}

#[tokio::test]
async fn fail_fast_stops_at_the_first_error_in_order() {
    let late = says("late", 20, Some("late"));
    let asked = late.3.clone();
    let validators = Validators::new()
        .validator(says("fine", 10, None))
        .validator(says("wrong", 1, Some("wrong")))
        .validator(late)
        .fail_fast()
        .at_once(1);
    let report = validators.validate(&app(), &Context::default()).await;
    assert_eq!(short(&report.findings), ["wrong ", "odd "]);
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    let error = report.into_result().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(
        error
            .to_string()
            .contains("shop is not valid: error: wrong [wrong]"),
        "{error}"
    );
    let fine = Validators::new().validator(says("fine", 0, None));
    let report = fine.validate(&app(), &Context::default()).await;
    assert!(report.is_valid() && report.into_result().unwrap().is_empty());
}

#[test]
fn a_finding_says_where() {
    let manifests = set([config_map("a", "shop"), config_map("Bad_name", "shop")]);
    let findings = find(&WellFormed, &app(), &manifests);
    assert_eq!(
        findings[0].to_string(),
        "deploy/all.yaml:11:1: error: ConfigMap shop/Bad_name /metadata/name: \"Bad_name\" is no name of a ConfigMap: \
         each part must begin and end with a lower-case letter or a digit [invalid-name]"
    );
}

#[test]
fn well_formed_applications() {
    assert!(on_app(&WellFormed, &app()).is_empty());
    type Change = fn(&mut Application);
    let table: &[(Change, &str)] = &[
        (|a| a.name = "Shop".into(), "invalid-name /name"),
        (|a| a.name.clear(), "invalid-name /name"),
        (|a| a.name = "a".repeat(254), "invalid-name /name"),
        (|a| a.namespace = "a.b".into(), "invalid-name /namespace"),
        (|a| a.project = "-x".into(), "invalid-name /project"),
        (
            |a| a.destination.namespace = "a_b".into(),
            "invalid-name /destination/namespace",
        ),
        (
            |a| a.destination.cluster = ClusterRef::Server("prod".into()),
            "invalid-field /destination/cluster/server",
        ),
        (
            |a| a.destination.cluster = ClusterRef::Server("https://u:hunter2@x".into()),
            "credentials-in-url /destination/cluster/server",
        ),
        (
            |a| a.destination.cluster = ClusterRef::Name(String::new()),
            "missing-field /destination/cluster/name",
        ),
        (|a| a.sources.clear(), "missing-field /sources"),
        (
            |a| a.sources[0].repo_url = " ".into(),
            "missing-field /sources/0/repoUrl",
        ),
        (
            |a| a.sources[0].repo_url = "--upload-pack=x".into(),
            "invalid-field /sources/0/repoUrl",
        ),
        (
            |a| a.sources[0].repo_url = "https://me:hunter2@example.com/r".into(),
            "credentials-in-url /sources/0/repoUrl",
        ),
        (
            |a| a.sources[0].path = Some("../other".into()),
            "invalid-field /sources/0/path",
        ),
        (
            |a| a.sources[0].path = Some("/etc".into()),
            "invalid-field /sources/0/path",
        ),
        (
            |a| a.sources[0].path = Some("a/.git/b".into()),
            "invalid-field /sources/0/path",
        ),
        (
            |a| a.sources[0].chart = Some("c".into()),
            "invalid-field /sources/0/chart",
        ),
        (
            |a| a.sources[0].target_revision = Some("--x".into()),
            "invalid-field /sources/0/targetRevision",
        ),
        (
            |a| a.sources[0].ref_name = Some("a b".into()),
            "invalid-field /sources/0/ref",
        ),
        (
            |a| a.sources[0] = Source::chart("https://charts", "c"),
            "missing-field /sources/0/targetRevision",
        ),
        (
            |a| a.sources[0] = Source::chart("https://charts", "").revision("1"),
            "missing-field /sources/0/chart",
        ),
        (
            |a| a.sync_policy.options.push("Prune".into()),
            "invalid-field /syncPolicy/syncOptions/0",
        ),
        (
            |a| {
                a.labels.insert("a/b/c".into(), "x".into());
            },
            "invalid-label /labels/a~1b~1c",
        ),
        (
            |a| {
                a.labels.insert("a".into(), "-".into());
            },
            "invalid-label /labels/a",
        ),
        (
            |a| {
                a.annotations.insert("a b".into(), String::new());
            },
            "invalid-annotation /annotations/a b",
        ),
        (
            |a| {
                a.annotations.insert("a".into(), "x".repeat(256 * 1024));
            },
            "invalid-annotation /annotations",
        ),
    ];
    for (change, expected) in table {
        let mut app = app();
        change(&mut app);
        let findings = find(&WellFormed, &app, &ManifestSet::new());
        assert_eq!(short(&findings), [*expected]);
        assert!(!findings[0].to_string().contains("hunter2"));
    }
    for path in [".", "./", "./deploy", "deploy/", "a/b"] {
        let mut app = app();
        app.sources[0].path = Some(path.into());
        assert!(on_app(&WellFormed, &app).is_empty(), "{path}");
    }
    let mut twice = app();
    twice.sources[0].ref_name = Some("values".into());
    twice.sources.push(twice.sources[0].clone());
    assert_eq!(
        on_app(&WellFormed, &twice),
        ["invalid-field /sources/1/ref"]
    );
}

#[test]
fn well_formed_objects() {
    let named = |api: &str, kind: &str, name: &str| json!({"apiVersion": api, "kind": kind, "metadata": {"name": name}});
    let good = [
        named("v1", "ConfigMap", "a.b-c.9"),
        named("v1", "Service", "web"),
        named(
            "rbac.authorization.k8s.io/v1",
            "ClusterRole",
            "system:Node_x",
        ),
        named("user.openshift.io/v1", "User", "ann@example.com"),
        named("batch/v1", "CronJob", &"a".repeat(52)),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": {"Example.com/A_b.C": ""}, "annotations": {"Example.COM/x": "anything\n"}}}),
    ];
    for object in good {
        let findings = on_object(&WellFormed, object.clone());
        let capital = object.pointer("/metadata/labels").is_some();
        // A label's prefix must be in lower case, an annotation's need not.
        assert_eq!(
            findings.len(),
            usize::from(capital),
            "{object} {findings:?}"
        );
    }
    let bad = [
        named("v1", "Namespace", "a.b"),
        named("v1", "Service", "9web"),
        named("rbac.authorization.k8s.io/v1", "Role", "a/b"),
        named("batch/v1", "CronJob", &"a".repeat(53)),
        named("example.com/v1", "Thing", "a..b"),
        named("v1", "Pod", "a/../b"),
    ];
    for object in bad {
        assert_eq!(
            on_object(&WellFormed, object.clone()),
            ["invalid-name /metadata/name"],
            "{object}"
        );
    }
}

#[test]
fn repositories() {
    // (globs, URL, allowed)
    let table: &[(&[&str], &str, bool)] = &[
        (&[], "https://github.com/org/repo", false),
        (&["*"], "https://github.com/org/repo", true),
        (&["*"], "https://github.com/org/%2e%2e/x", true),
        (
            &["https://github.com/org/*"],
            "https://github.com/org/repo",
            true,
        ),
        (
            &["https://github.com/org/*"],
            "https://github.com/org/repo.git",
            true,
        ),
        (
            &["https://github.com/org/*"],
            "HTTPS://GitHub.com/Org/Repo",
            true,
        ),
        (
            &["https://github.com/org/*"],
            "https://github.com/org/a/b",
            false,
        ),
        (
            &["https://github.com/org/**"],
            "https://github.com/org/a/b",
            true,
        ),
        // Anchored at both ends.
        (
            &["https://github.com/org/*"],
            "https://github.com/org-evil/repo",
            false,
        ),
        (
            &["https://github.com/org/*"],
            "https://evil.com/?https://github.com/org/x",
            false,
        ),
        (
            &["https://github.com/org/repo"],
            "https://github.com/org/repo2",
            false,
        ),
        // In other schemes an allowed URL is only a part (CVE-2026-25542).
        (
            &["https://github.com/org/*"],
            "git+https://github.com/org/repo",
            false,
        ),
        (
            &["git+https://github.com/org/*"],
            "https://github.com/org/repo",
            false,
        ),
        (
            &["git+https://github.com/org/*"],
            "git+https://evil.com/git+https://github.com/org/repo",
            false,
        ),
        (
            &["https://*.example.com/*"],
            "https://git.example.com/r",
            true,
        ),
        (
            &["https://*.example.com/*"],
            "https://evil.com/.example.com/r",
            false,
        ),
        // What leads elsewhere than it says.
        (
            &["https://github.com/org/**"],
            "https://github.com/org/../evil/repo",
            false,
        ),
        (
            &["https://github.com/org/**"],
            "https://github.com/org/%2E%2E/evil/repo",
            false,
        ),
        (
            &["git@github.com:org/*"],
            "git@github.com:org/repo.git",
            true,
        ),
        (
            &["git@github.com:org/*"],
            "ssh://git@github.com/org/repo",
            true,
        ),
        (&["git@github.com:org/*"], "git@github.com:evil/repo", false),
        (
            &["https://*.example.com/*"],
            "https://evil.com?.example.com/r",
            false,
        ),
        (
            &["https://*.example.com/*"],
            "https://evil.com#.example.com/r",
            false,
        ),
        (
            &["https://*.example.com/*"],
            "https://evil.com\\.example.com/r",
            false,
        ),
        (
            &["https://github.com*/**"],
            "https://github.com:x@evil.com/r",
            false,
        ),
        (
            &["https://github.com/**"],
            "https://token@github.com/org/r",
            true,
        ),
        (
            &["https://user@dev.azure.com/org/*"],
            "https://dev.azure.com/org/r",
            true,
        ),
        // Denied wins, in any order.
        (
            &["*", "!https://github.com/org/secret"],
            "https://github.com/org/secret",
            false,
        ),
        (
            &["!https://github.com/org/secret", "*"],
            "https://github.com/org/secret.git",
            false,
        ),
        (
            &["!https://github.com/org/secret", "*"],
            "https://github.com/org/open",
            true,
        ),
        (
            &["!https://github.com/org/secret"],
            "https://github.com/org/open",
            true,
        ),
    ];
    for (globs, url, expected) in table {
        let list = AllowedRepositories::new(globs.iter().copied()).unwrap();
        assert_eq!(list.permits(url), *expected, "{globs:?} {url}");
        let app = Application::new("a").source(Source::git(*url));
        let expected: &[&str] = if *expected {
            &[]
        } else {
            &["repository-denied /sources/0/repoUrl"]
        };
        assert_eq!(on_app(&list, &app), expected);
    }
    assert!(AllowedRepositories::new(["[x"]).is_err());
}

fn destination(cluster: &str, namespace: &str) -> Application {
    let mut app = Application::new("a").in_namespace(namespace);
    app.destination.cluster = match cluster {
        "" => ClusterRef::InCluster,
        url if url.contains("://") => ClusterRef::Server(url.into()),
        name => ClusterRef::Name(name.into()),
    };
    app
}

#[test]
fn destinations() {
    let server =
        |server: &str, namespace: &str| DestinationPattern::server(server, namespace).unwrap();
    let name = |name: &str, namespace: &str| DestinationPattern::name(name, namespace).unwrap();
    let table: Vec<(Vec<DestinationPattern>, &str, &str, bool)> = vec![
        (vec![], "", "shop", false),
        (vec![server("*", "*")], "", "shop", true),
        (
            vec![server("https://kubernetes.default.svc", "shop")],
            "",
            "shop",
            true,
        ),
        (vec![name("in-cluster", "shop")], "", "shop", true),
        (
            vec![server("https://kubernetes.default.svc", "default")],
            "",
            "",
            true,
        ),
        (
            vec![server("https://prod*", "team-*")],
            "https://prod-1:6443",
            "team-a",
            true,
        ),
        (
            vec![server("https://prod*", "team-*")],
            "https://prod-1:6443",
            "x-team-a",
            false,
        ),
        (
            vec![server("https://prod*", "team-*")],
            "https://dev",
            "team-a",
            false,
        ),
        (vec![name("prod", "*")], "https://prod", "a", false),
        (vec![name("prod", "*")], "prod", "a", true),
        // Denied wins, in any order.
        (
            vec![server("*", "*"), server("*", "!kube-system")],
            "",
            "kube-system",
            false,
        ),
        (
            vec![server("*", "!kube-*"), server("*", "*")],
            "",
            "kube-public",
            false,
        ),
        (
            vec![server("*", "!kube-*"), server("*", "*")],
            "",
            "shop",
            true,
        ),
        (vec![server("*", "!kube-*")], "", "shop", true),
        (
            vec![server("*", "*"), server("!https://prod", "*")],
            "https://prod",
            "a",
            false,
        ),
        (
            vec![server("*", "*"), server("!https://prod", "*")],
            "https://dev",
            "a",
            true,
        ),
        (vec![name("*", "*"), name("!prod", "*")], "prod", "a", false),
        (
            vec![name("*", "*"), name("*", "!kube-system")],
            "prod",
            "kube-system",
            false,
        ),
        // Nobody can tell whether this URL is that name.
        (
            vec![server("*", "*"), name("!prod", "*")],
            "https://1.2.3.4",
            "a",
            false,
        ),
    ];
    for (patterns, cluster, namespace, expected) in table {
        let text = format!("{patterns:?}");
        let list = AllowedDestinations::new(patterns);
        let app = destination(cluster, namespace);
        let expected: &[&str] = if expected {
            &[]
        } else {
            &["destination-denied /destination"]
        };
        assert_eq!(
            on_app(&list, &app),
            expected,
            "{text} {cluster} {namespace}"
        );
    }
    // Objects that go elsewhere are looked at as well.
    let list = AllowedDestinations::new([server("*", "shop"), server("*", "shared")]);
    let manifests = set([
        config_map("a", "shop"),
        config_map("b", "shared"),
        config_map("c", "kube-system"),
    ]);
    let findings = find(&list, &app(), &manifests);
    assert_eq!(short(&findings), ["destination-denied /metadata/namespace"]);
    assert_eq!(findings[0].object.as_ref().unwrap().name, "c");
}

proptest! {
    /// What is denied by name is denied whatever else is allowed.
    #[test]
    fn a_denied_repository_is_never_permitted(globs in prop::collection::vec("[a-z*/:.]{0,12}", 0..4), repo in "[a-z]{1,5}/[a-z]{1,5}", at in 0_usize..5) {
        let url = format!("https://git.example.com/{repo}");
        let deny = format!("!{url}");
        let mut globs: Vec<&str> = globs.iter().map(String::as_str).collect();
        globs.insert(at.min(globs.len()), &deny);
        if let Ok(list) = AllowedRepositories::new(globs) {
            prop_assert!(!list.permits(&url));
            let again = format!("{url}.git");
            prop_assert!(!list.permits(&again));
        }
    }

    #[test]
    fn no_text_makes_validators_panic(text in ".{0,40}") {
        let mut app = app();
        app.name = text.clone();
        app.sources[0].repo_url = text.clone();
        app.sources[0].target_revision = Some(text.clone());
        app.sources[0].path = Some(text.clone());
        app.destination.namespace = text.clone();
        app.labels.insert(text.clone(), text.clone());
        let everything = [
            Box::new(WellFormed) as Box<dyn Validator>,
            Box::new(AllowedRepositories::new(["https://*"]).unwrap()),
            Box::new(PinnedRevision::everywhere()),
            Box::new(AllowedDestinations::new([])),
        ];
        for validator in &everything {
            find(validator, &app, &ManifestSet::new());
        }
    }
}

#[test]
fn pinned_revisions() {
    let sha = "0123456789abcdef0123456789abcdef01234567";
    let digest = format!("sha256:{}", "a".repeat(64));
    let git = |revision: &str| Source::git("https://r").revision(revision);
    // (source, pinned, pinned if only commits are)
    let table = [
        (Source::git("https://r"), false, false),
        (git("HEAD"), false, false),
        (git("main"), false, false),
        (git("refs/heads/main"), false, false),
        (git(&sha[..7]), false, false),
        (git(sha), true, true),
        (git(&sha.repeat(2)[..64]), true, true),
        (git("v1.2.3"), true, false),
        (git("1.2.3-rc.1+build.5"), true, false),
        (git("v1.2"), false, false),
        (git("1.2.x"), false, false),
        (git("^1.2.3"), false, false),
        (git("1.02.3"), false, false),
        (git("refs/tags/anything"), true, false),
        (git("refs/tags/"), false, false),
        (
            Source::chart("https://c", "x").revision("1.2.3"),
            true,
            true,
        ),
        (
            Source::chart("https://c", "x").revision("~1.2.3"),
            false,
            false,
        ),
        (Source::chart("https://c", "x"), false, false),
        (Source::oci("oci://r").revision(&*digest), true, true),
        (Source::oci("oci://r").revision("latest"), false, false),
        (Source::oci("oci://r").revision("1.2.3"), true, false),
    ];
    for (source, pinned, strictly) in table {
        let app = Application::new("a").source(source);
        let text = &app.sources[0].target_revision;
        for (rule, expected) in [
            (PinnedRevision::everywhere(), pinned),
            (PinnedRevision::everywhere().only_commits(true), strictly),
        ] {
            let expected: &[&str] = if expected {
                &[]
            } else {
                &["revision-not-pinned /sources/0/targetRevision"]
            };
            assert_eq!(on_app(&rule, &app), expected, "{text:?} {rule:?}");
        }
    }
    // Only where it is asked for.
    let prod = PinnedRevision::at([DestinationPattern::name("prod-*", "*").unwrap()]);
    let mut app = destination("prod-eu", "a").source(git("main"));
    assert_eq!(on_app(&prod, &app).len(), 1);
    app.destination.cluster = ClusterRef::Name("dev".into());
    assert!(on_app(&prod, &app).is_empty());
}

fn secret(fields: Value) -> Value {
    let mut value = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
    for (key, field) in fields.as_object().unwrap() {
        value[key] = field.clone();
    }
    value
}

#[test]
fn plain_text_secrets() {
    let key = format!(
        "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----",
        "QUJD".repeat(20)
    );
    let table: Vec<(Value, Vec<&str>)> = vec![
        (secret(json!({})), vec![]),
        (secret(json!({"data": null, "stringData": {}})), vec![]),
        (secret(json!({"data": {"a": "", "b": null}})), vec![]),
        (
            secret(json!({"data": {"p": "aHVudGVyMg=="}})),
            vec!["plain-text-secret /data/p"],
        ),
        (
            secret(json!({"stringData": {"p": "hunter2", "a/b": "hunter2"}})),
            vec![
                "plain-text-secret /stringData/a~1b",
                "plain-text-secret /stringData/p",
            ],
        ),
        (
            secret(json!({"stringData": {"n": 5}})),
            vec!["plain-text-secret /stringData/n"],
        ),
        (
            secret(json!({"stringData": {"p": "ENC[AES256_GCM,data:xyz,type:str]"}, "sops": {}})),
            vec![],
        ),
        (
            secret(json!({"stringData": {"p": "ENC[not closed"}})),
            vec!["plain-text-secret /stringData/p"],
        ),
        (
            secret(json!({"stringData": {"p": "<path:kv/data/x#p>"}})),
            vec![],
        ),
        // The placeholder in base64, as Helm charts make it.
        (
            secret(json!({"data": {"p": "PHBhdGg6a3YveCNwPg=="}})),
            vec![],
        ),
        (
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{\"data\":{\"p\":\"aHVudGVyMg==\"}}"}}}),
            vec![
                "plain-text-secret /metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration",
            ],
        ),
        (
            json!({"apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "metadata": {"name": "s"}, "spec": {"encryptedData": {"p": "AgBy"}}}),
            vec![],
        ),
        (
            json!({"apiVersion": "example.com/v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"p": "x"}}),
            vec![],
        ),
        (
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"id_rsa": key}}),
            vec!["private-key /data/id_rsa"],
        ),
        (
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "c"}, "spec": {"containers": [{"name": "a", "env": [{"name": "K", "value": key}]}]}}),
            vec!["private-key /spec/containers/0/env/0/value"],
        ),
        (
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {
            "help": "put -----BEGIN PRIVATE KEY----- … -----END PRIVATE KEY----- here",
            "ca": format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----", "QUJD".repeat(20))}}),
            vec![],
        ),
    ];
    let rule = NoPlainTextSecrets::new().placeholder("<path:*>").unwrap();
    for (object, expected) in table {
        let findings = find(&rule, &app(), &set([object.clone()]));
        assert_eq!(short(&findings), expected, "{object}");
        for finding in findings {
            let text = format!("{finding} {finding:?}");
            assert!(
                !text.contains("hunter2") && !text.contains("aHVudGVyMg") && !text.contains("QUJD"),
                "{text}"
            );
        }
    }
}

#[test]
fn kinds() {
    let object =
        |api: &str, kind: &str| json!({"apiVersion": api, "kind": kind, "metadata": {"name": "x"}});
    let deny = AllowedKinds::new()
        .deny("rbac.authorization.k8s.io", "Cluster*")
        .unwrap()
        .deny("", "Node")
        .unwrap();
    let allow = AllowedKinds::new()
        .allow("apps", "*")
        .unwrap()
        .allow("", "ConfigMap")
        .unwrap()
        .deny("*", "DaemonSet")
        .unwrap();
    let table = [
        (
            object("rbac.authorization.k8s.io/v1", "ClusterRole"),
            false,
            false,
        ),
        (object("rbac.authorization.k8s.io/v1", "Role"), true, false),
        (object("v1", "Node"), false, false),
        (object("example.com/v1", "Node"), true, false),
        (object("apps/v1", "Deployment"), true, true),
        (object("apps/v1", "DaemonSet"), true, false),
        (object("v1", "ConfigMap"), true, true),
    ];
    for (value, by_deny, by_allow) in table {
        for (rule, expected) in [(&deny, by_deny), (&allow, by_allow)] {
            let expected: &[&str] = if expected {
                &[]
            } else {
                &["kind-denied /kind"]
            };
            assert_eq!(on_object(rule, value.clone()), expected, "{value}");
        }
    }
}

#[test]
fn namespaces_stay_inside_the_destination() {
    let namespace =
        |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let none = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    let rule = InsideDestination::new().also("shop-*").unwrap();
    let table = [
        (config_map("a", "shop"), None),
        (none, None),
        (config_map("a", "shop-db"), None),
        (config_map("a", "other"), Some("/metadata/namespace")),
        (config_map("a", "workshop"), Some("/metadata/namespace")),
        (namespace("shop"), None),
        (namespace("other"), Some("/metadata/name")),
    ];
    for (object, expected) in table {
        let expected: Vec<String> = expected
            .iter()
            .map(|at| format!("namespace-outside-destination {at}"))
            .collect();
        assert_eq!(on_object(&rule, object.clone()), expected, "{object}");
    }
}
