//! The validators that need no server, held against real ones: names and namespaces against what the API server says, sources and manifests from a real
//! repository, images against a registry.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use gitops_core::ErrorKind;
use gitops_core::application::{Application, ClusterRef, Source};
use gitops_core::backend::Severity;
use gitops_core::manifest::{ManifestSet, Object};
use gitops_core::source::Sources;
use gitops_core::validate::{
    AllowedDestinations, AllowedImages, AllowedKinds, AllowedRepositories, Context,
    DestinationPattern, Finding, InsideDestination, NoPlainTextSecrets, PinnedRevision, Validator,
    Validators, WellFormed,
};
use gitops_kube::cluster::KubeCluster;
use gitops_kube::validate::DryRunValidator;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use crate::place::Place;

fn set(values: impl IntoIterator<Item = Value>) -> Result<ManifestSet> {
    let objects: Vec<Object> = values
        .into_iter()
        .map(|value| Object::new(value, None))
        .collect::<gitops_core::Result<_>>()?;
    Ok(ManifestSet::from_objects(objects)?)
}

/// `FILE:LINE:COLUMN SEVERITY KIND/NAME POINTER CODE`, as far as there is each.
fn line(finding: &Finding) -> String {
    let mut parts = Vec::new();
    parts.extend(finding.origin.as_ref().map(ToString::to_string));
    parts.push(format!("{:?}", finding.severity).to_lowercase());
    parts
        .extend((finding.object.as_ref()).map(|object| format!("{}/{}", object.kind, object.name)));
    parts.extend(finding.pointer.clone());
    parts.push(finding.code.clone());
    parts.join(" ")
}

async fn found(
    validator: &dyn Validator,
    app: &Application,
    manifests: &ManifestSet,
) -> Result<Vec<String>> {
    let context = Context::with_manifests(manifests);
    let findings = validator.validate(app, &context).await?;
    for finding in &findings {
        println!("{}: {finding}", validator.name());
    }
    Ok(findings.iter().map(line).collect())
}

/// Whether the server takes an object; what it cannot even be asked about, it refuses.
async fn server_takes(server: &dyn Validator, app: &Application, value: &Value) -> Result<bool> {
    let manifests = set([value.clone()])?;
    let context = Context::with_manifests(&manifests);
    match server.validate(app, &context).await {
        Ok(found) => Ok(found
            .iter()
            .all(|finding| finding.severity < Severity::Error)),
        Err(error) => match error.kind() {
            ErrorKind::PermissionDenied
            | ErrorKind::InvalidInput
            | ErrorKind::NotFound
            | ErrorKind::Unsupported
            | ErrorKind::Failed => Ok(false),
            _ => Err(error.into()),
        },
    }
}

/// An object of each kind whose names have rules of their own.
fn named(kind: &str, name: &str) -> Value {
    let pods = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "x:1"}]});
    let (version, rest) = match kind {
        "Role" => ("rbac.authorization.k8s.io/v1", json!({"rules": []})),
        "CronJob" => (
            "batch/v1",
            json!({"spec": {"schedule": "0 0 * * *", "jobTemplate": {"spec": {"template": {"spec": pods}}}}}),
        ),
        "Service" => ("v1", json!({"spec": {"ports": [{"port": 80}]}})),
        _ => ("v1", json!({})),
    };
    let mut value = json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}});
    if let (Some(value), Value::Object(rest)) = (value.as_object_mut(), rest) {
        value.extend(rest);
    }
    value
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_well_formed_when_the_server_takes_them() -> Result<()> {
    let cluster = e2e::cluster().await?;
    let namespace = cluster.namespace("names").await?;
    let server = DryRunValidator::new(KubeCluster::new(cluster.client().await?));
    let app = Application::new("shop")
        .source(Source::git("https://git.example.com/o/r"))
        .in_namespace(namespace.name());
    let long = |n: usize| "a".repeat(n);
    let names: Vec<String> = [
        "a", "a-b", "a.b", "1a", "a1", "0.0", "-a", "a-", "a..b", ".a", "a.", "a.-b", "A", "aB",
        "a_b", "a b", "é", "a:b", "system:a", "a/b", "a%b", "a?b", "a#b", ".", "..",
    ]
    .into_iter()
    .map(str::to_owned)
    .chain([
        long(52),
        long(53),
        long(63),
        long(64),
        long(253),
        long(254),
        format!("{}.b", long(64)),
    ])
    .collect();
    let mut values: Vec<(String, Value)> = Vec::new();
    for kind in ["ConfigMap", "Namespace", "Service", "Role", "CronJob"] {
        let of_kind = names
            .iter()
            .map(|name| (format!("{kind} {name}"), named(kind, name)));
        values.extend(of_kind);
    }
    // Keys and values of labels, keys of annotations.
    let long_key = format!("{}/{}", long(253), long(63));
    let keys = [
        "a",
        "a/b",
        "example.com/a",
        "A.b_c-d",
        "-a",
        "a-",
        "a/",
        "/a",
        "a/b/c",
        "Ex.com/a",
        "a b",
        &long(63),
        &long(64),
        &long_key,
        &format!("{}/a", long(254)),
    ]
    .map(str::to_owned);
    for key in &keys {
        for field in ["labels", "annotations"] {
            let mut value = named("ConfigMap", "x");
            value["metadata"][field] = json!({key: "v"});
            values.push((format!("{field} {key}"), value));
        }
    }
    for text in [
        "",
        "a",
        "A.b_c-d",
        "-a",
        "a-",
        "a b",
        "a/b",
        "é",
        &long(63),
        &long(64),
    ] {
        let mut value = named("ConfigMap", "x");
        value["metadata"]["labels"] = json!({"k": text});
        values.push((format!("label's value {text}"), value));
    }
    for size in [256 * 1024 - 1, 256 * 1024] {
        let mut value = named("ConfigMap", "x");
        value["metadata"]["annotations"] = json!({"k": "v".repeat(size)});
        values.push((format!("{size} bytes of annotations"), value));
    }
    let dir = tempfile::tempdir()?;
    let (mut wrong, mut refused) = (Vec::new(), 0);
    for (what, value) in &values {
        let manifests = set([value.clone()])?;
        let context = Context::with_manifests(&manifests);
        let found = WellFormed.validate(&app, &context).await?;
        let mut taken = server_takes(&server, &app, value).await?;
        if !taken && found.is_empty() {
            // Some names of roles are refused by our own client; kubectl passes them on.
            let file = dir.path().join("object.json");
            tokio::fs::write(&file, value.to_string()).await?;
            let file = file.to_string_lossy();
            let apply = [
                "apply",
                "--server-side",
                "--dry-run=server",
                "-n",
                namespace.name(),
                "-f",
                &*file,
            ];
            taken = cluster.kubectl(&apply).await.is_ok();
            println!("{what}: kubectl may: {taken}");
        }
        refused += usize::from(!taken);
        if taken != found.is_empty() {
            let short: String = what.chars().take(60).collect();
            wrong.push(format!("{short}: the server takes it: {taken}; {found:?}"));
        }
        for finding in found {
            assert_eq!(finding.severity, Severity::Error);
            let code = match what.split(' ').next() {
                Some("labels" | "label's") => "invalid-label",
                Some("annotations") => "invalid-annotation",
                _ if what.ends_with("annotations") => "invalid-annotation",
                _ => "invalid-name",
            };
            assert_eq!(finding.code, code, "{what}");
        }
    }
    println!("{} objects, {refused} refused by both", values.len());
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(refused > 60, "only {refused} were refused");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_stay_inside_where_a_user_bound_to_the_namespace_cannot_leave_it() -> Result<()> {
    let cluster = e2e::cluster().await?;
    let own = cluster.namespace("inside").await?.name().to_owned();
    let also = cluster.namespace("inside-also").await?.name().to_owned();
    let other = cluster.namespace("inside-other").await?.name().to_owned();
    for namespace in [&own, &also] {
        cluster
            .kubectl(&[
                "-n",
                namespace,
                "create",
                "role",
                "deploy",
                "--verb=get,create,patch",
                "--resource=configmaps,services",
            ])
            .await?;
        cluster
            .kubectl(&[
                "-n",
                namespace,
                "create",
                "rolebinding",
                "deploy",
                "--role=deploy",
                "--user=bob",
            ])
            .await?;
        // Its own Namespace it may change.
        cluster
            .kubectl(&[
                "create",
                "clusterrole",
                namespace,
                "--verb=get,patch",
                "--resource=namespaces",
                "--resource-name",
                namespace,
            ])
            .await?;
        cluster
            .kubectl(&[
                "create",
                "clusterrolebinding",
                namespace,
                "--clusterrole",
                namespace,
                "--user=bob",
            ])
            .await?;
    }
    let server = DryRunValidator::new(KubeCluster::new(cluster.client_as("bob").await?));
    let app = Application::new("shop").in_namespace(&own);
    let config_map = |namespace: &str| {
        let mut value = named("ConfigMap", "x");
        if !namespace.is_empty() {
            value["metadata"]["namespace"] = json!(namespace);
        }
        value
    };
    // The authoriser learns of new bindings from a watch.
    let bound = async {
        for value in [
            config_map(&own),
            config_map(&also),
            named("Namespace", &own),
            named("Namespace", &also),
        ] {
            while !server_takes(&server, &app, &value).await? {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(30), bound)
        .await
        .context("bob got no rights")??;

    let validator = InsideDestination::new().also("inside-also-*")?;
    let service = |namespace: &str| {
        let mut value = named("Service", "x");
        value["metadata"]["namespace"] = json!(namespace);
        value
    };
    let rows = [
        (config_map(""), None),
        (config_map(&own), None),
        (config_map(&also), None),
        (service(&own), None),
        (named("Namespace", &own), None),
        (named("Namespace", &also), None),
        (config_map(&other), Some("ConfigMap/x /metadata/namespace")),
        (
            config_map("kube-system"),
            Some("ConfigMap/x /metadata/namespace"),
        ),
        (
            config_map("default"),
            Some("ConfigMap/x /metadata/namespace"),
        ),
        (service(&other), Some("Service/x /metadata/namespace")),
        (named("Namespace", &other), Some("/metadata/name")),
        (named("Namespace", "a-new-one"), Some("/metadata/name")),
    ];
    for (value, outside) in rows {
        let lines = found(&validator, &app, &set([value.clone()])?).await?;
        let inside = server_takes(&server, &app, &value).await?;
        assert_eq!(lines.is_empty(), inside, "{value}: bob may: {inside}");
        match (outside, &lines[..]) {
            (None, []) => {}
            (Some(outside), [line]) => ensure!(
                line.starts_with("error ")
                    && line.ends_with(&format!("{outside} namespace-outside-destination")),
                "{line}"
            ),
            _ => anyhow::bail!("{value}: {lines:?}"),
        }
    }
    // Without leave, the second namespace is outside too.
    let lines = found(&InsideDestination::new(), &app, &set([config_map(&also)])?).await?;
    assert_eq!(lines.len(), 1, "{lines:?}");
    Ok(())
}

/// A text, moved to the right.
fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_repository_holds_is_judged_with_its_place_in_it() -> Result<()> {
    let place = Place::new("judged").await?;
    let mut openssl = Command::new(e2e::system_program("openssl")?);
    openssl.args(["genpkey", "-algorithm", "ed25519"]);
    let key = e2e::run(&mut openssl).await?;
    let secrets = "# comment
apiVersion: v1
kind: Secret
metadata: {name: open}
stringData: {password: hunter2}
data: {empty: '', token: aHVudGVyMg==}
---
apiVersion: v1
kind: Secret
metadata: {name: filled-in-later}
stringData: {password: '<path:kv/shop#password>'}
---
apiVersion: v1
kind: Secret
metadata: {name: encrypted}
data: {password: 'ENC[AES256_GCM,data:x,iv:x,tag:x,type:str]'}
---
apiVersion: bitnami.com/v1alpha1
kind: SealedSecret
metadata: {name: sealed}
spec: {encryptedData: {password: AgBy}}
";
    let keys = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: tls}}\ndata:\n  key.pem: |\n{}",
        indented(&key)
    );
    let rbac = "apiVersion: v1
kind: ServiceAccount
metadata: {name: robot}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: e2e-judged}
rules: []
---
  # What lies elsewhere.
  apiVersion: v1
  kind: ConfigMap
  metadata: {name: far, namespace: kube-system}
";
    let odd = "apiVersion: v1
kind: ConfigMap
metadata: {name: Odd_Name, labels: {a b: c}}
";
    place
        .commit(&[
            ("apps/shop/secrets.yaml", secrets),
            ("apps/shop/keys.yaml", &keys),
            ("apps/shop/rbac.yaml", rbac),
            ("apps/shop/odd.yaml", odd),
        ])
        .await?;
    let app = place.app("shop");
    let rendered = place.sources.render(&app, &[]).await?;
    let manifests = &rendered.manifests;

    let secrets = NoPlainTextSecrets::new();
    let open = [
        "apps/shop/secrets.yaml:2:1 error Secret/open /data/token plain-text-secret",
        "apps/shop/secrets.yaml:2:1 error Secret/open /stringData/password plain-text-secret",
    ];
    let placeholder = "apps/shop/secrets.yaml:8:1 error Secret/filled-in-later /stringData/password plain-text-secret";
    let pem = "apps/shop/keys.yaml:1:1 error ConfigMap/tls /data/key.pem private-key";
    let lines = sorted(found(&secrets, &app, manifests).await?);
    assert_eq!(
        lines,
        sorted([pem, open[0], open[1], placeholder].map(str::to_owned))
    );
    let secrets = secrets.placeholder("<path:*>")?;
    let lines = sorted(found(&secrets, &app, manifests).await?);
    assert_eq!(lines, sorted([pem, open[0], open[1]].map(str::to_owned)));

    let role = "apps/shop/rbac.yaml:5:1 error ClusterRole/e2e-judged /kind kind-denied";
    let kinds = AllowedKinds::new().deny("rbac.authorization.k8s.io", "Cluster*")?;
    assert_eq!(found(&kinds, &app, manifests).await?, [role]);
    let kinds = AllowedKinds::new()
        .allow("", "*")?
        .allow("bitnami.com", "SealedSecret")?
        .allow("rbac.authorization.k8s.io", "*")?;
    assert!(found(&kinds, &app, manifests).await?.is_empty());
    let kinds = kinds.deny("", "Secret")?;
    assert_eq!(found(&kinds, &app, manifests).await?.len(), 3);

    let far = "apps/shop/rbac.yaml:11:3 error ConfigMap/far /metadata/namespace";
    let inside = InsideDestination::new();
    assert_eq!(
        found(&inside, &app, manifests).await?,
        [format!("{far} namespace-outside-destination")]
    );
    let inside = inside.also("kube-*")?;
    assert!(found(&inside, &app, manifests).await?.is_empty());

    let server = "https://kubernetes.default.svc";
    let to = |namespace: &str| DestinationPattern::server(server, namespace);
    let allowed = AllowedDestinations::new([to(&place.namespace)?]);
    assert_eq!(
        found(&allowed, &app, manifests).await?,
        [format!("{far} destination-denied")]
    );
    let allowed = AllowedDestinations::new([to("*")?]);
    assert!(found(&allowed, &app, manifests).await?.is_empty());
    let allowed = AllowedDestinations::new([to("*")?, to("!kube-system")?]);
    assert_eq!(
        found(&allowed, &app, manifests).await?,
        [format!("{far} destination-denied")]
    );
    let mut elsewhere = app.clone();
    elsewhere.destination.cluster = ClusterRef::Server(e2e::cluster().await?.server.clone());
    let allowed = AllowedDestinations::new([to("*")?]);
    let lines = found(&allowed, &elsewhere, manifests).await?;
    assert_eq!(lines[0], "error /destination destination-denied");

    let lines = sorted(found(&WellFormed, &app, manifests).await?);
    assert_eq!(
        lines,
        [
            "apps/shop/odd.yaml:1:1 error ConfigMap/Odd_Name /metadata/labels/a b invalid-label",
            "apps/shop/odd.yaml:1:1 error ConfigMap/Odd_Name /metadata/name invalid-name",
        ]
    );

    // All together, at once and until the first.
    let validators = Validators::new()
        .validator(WellFormed)
        .validator(secrets)
        .validator(InsideDestination::new());
    let report = validators
        .validate(&app, &Context::with_manifests(manifests))
        .await;
    println!("{report}");
    assert_eq!(report.errors().count(), 6);
    ensure!(!report.to_string().contains("hunter2"), "{report}");
    ensure!(
        !report
            .to_string()
            .contains(key.lines().nth(1).unwrap_or("BEGIN")),
        "{report}"
    );
    let first = validators
        .fail_fast()
        .validate(&app, &Context::with_manifests(manifests))
        .await;
    assert_eq!(first.errors().count(), 2);
    let error = first.into_result().err().context("it is valid")?;
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    Ok(())
}

fn sorted(lines: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<_> = lines.into_iter().collect();
    lines.sort();
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_are_those_that_the_forge_serves_under_their_urls() -> Result<()> {
    let place = Place::new("allowed").await?;
    let denied = place.gitea.repository("denied").await?;
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    place.commit(&[("apps/shop/a.yaml", text)]).await?;
    place
        .gitea
        .commit(&denied, "start", &[("apps/shop/a.yaml", text)])
        .await?;
    let (base, owner) = (&place.gitea.url, &denied.owner);
    let allowed = AllowedRepositories::new([
        &*format!("{base}/{owner}/allowed-*"),
        &*format!(
            "ssh://git@127.0.0.1:{}/{owner}/allowed-*",
            place.gitea.ssh_port
        ),
    ])?;
    let none = ManifestSet::new();
    let of = |url: &str| Application::new("shop").source(Source::git(url).path("apps/shop"));

    // What is allowed, is there; and so is what is denied.
    let own = &place.repository;
    for (url, denied) in [(&own.http_url, false), (&denied.http_url, true)] {
        let app = of(url);
        let rendered = place.sources.render(&app, &[]).await?;
        assert_eq!(rendered.manifests.len(), 1);
        let lines = found(&allowed, &app, &none).await?;
        let expected = ["error /sources/0/repoUrl repository-denied"];
        assert_eq!(lines, expected[..usize::from(denied)], "{url}");
    }
    for url in [
        own.ssh_url.clone(),
        own.http_url.trim_end_matches(".git").to_owned(),
        own.http_url.to_uppercase().replace("HTTP", "http"),
        place.gitea.url_with_password(own),
    ] {
        ensure!(allowed.permits(&url), "not permitted");
    }
    // What leads from an allowed name to the other repository is denied, whether or not Git and the forge would follow.
    let (own_name, other_name) = (&own.name, &denied.name);
    let first = other_name.chars().next().map_or(0, u32::from);
    let mut followed = 0;
    for url in [
        denied.ssh_url.clone(),
        format!("{base}/{owner}/{own_name}/../{other_name}.git"),
        format!("{base}/{owner}/{own_name}/%2e%2e/{other_name}.git"),
        format!("{base}/{owner}/%{first:02x}{}.git", &other_name[1..]),
        format!("{base}/{owner}/allowed-x/../../{owner}/{other_name}.git"),
        format!("{base}@127.0.0.1:1/{owner}/{own_name}.git"),
        format!("{base}.example.com/{owner}/{own_name}.git"),
        format!("http://example.com/?{base}/{owner}/{own_name}.git"),
        format!("git+{base}/{owner}/{own_name}.git"),
        format!("file://{base}/{owner}/{own_name}.git"),
    ] {
        ensure!(!allowed.permits(&url), "{url} is permitted");
        let app = of(&url);
        let reads = place.sources.render(&app, &[]);
        // Longer than Git may take for an address that does not answer.
        let reads = tokio::time::timeout(Duration::from_secs(180), reads).await?;
        println!(
            "{url}: {}",
            reads
                .as_ref()
                .map_or_else(ToString::to_string, |_| "read".into())
        );
        followed += usize::from(url.starts_with(&format!("{base}/")) && reads.is_ok());
    }
    ensure!(followed > 1, "only {followed} lead anywhere");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_revision_is_the_same_after_the_repository_moved() -> Result<()> {
    let place = Place::new("pinned").await?;
    let text = |value: &str| crate::place::config_map("a", value);
    let first = place.commit(&[("apps/shop/a.yaml", &text("1"))]).await?;
    let api = format!(
        "/repos/{}/{}",
        place.repository.owner, place.repository.name
    );
    let tag = async |name: &str| {
        let body = json!({"tag_name": name, "target": "main"});
        let path = format!("{api}/tags");
        place.gitea.api(Method::POST, &path, Some(&body)).await
    };
    for name in ["v1.0.0", "release"] {
        tag(name).await?;
    }
    // (revision, whether it is pinned, whether as a commit)
    let short = &first[..10];
    let rows = [
        (None, false, false),
        (Some("HEAD"), false, false),
        (Some("main"), false, false),
        (Some("refs/heads/main"), false, false),
        (Some("1.x"), false, false),
        (Some(">=1.0.0"), false, false),
        (Some(short), false, false),
        (Some("release"), false, false),
        (Some("v1.0.0"), true, false),
        (Some("refs/tags/release"), true, false),
        (Some(&*first), true, true),
    ];
    let of = |revision: Option<&str>| {
        let mut app = place.app("shop");
        app.sources[0].target_revision = revision.map(str::to_owned);
        app
    };
    for (revision, ..) in rows {
        let revisions = place.sources.resolve(&of(revision)).await?;
        assert_eq!(revisions, [first.as_str()], "{revision:?}");
    }
    let second = place.commit(&[("apps/shop/a.yaml", &text("2"))]).await?;
    tag("v1.1.0").await?;
    let none = ManifestSet::new();
    let (pinned, commits) = (
        PinnedRevision::everywhere(),
        PinnedRevision::everywhere().only_commits(true),
    );
    let expected = ["error /sources/0/targetRevision revision-not-pinned"];
    for (revision, is_pinned, as_commit) in rows {
        let app = of(revision);
        let lines = found(&pinned, &app, &none).await?;
        assert_eq!(lines, expected[usize::from(is_pinned)..], "{revision:?}");
        let lines = found(&commits, &app, &none).await?;
        assert_eq!(lines, expected[usize::from(as_commit)..], "{revision:?}");
        let now = place.sources.resolve(&app).await?;
        let moved = now != [first.as_str()];
        println!("{revision:?}: pinned: {is_pinned}, moved: {moved}");
        ensure!(!(is_pinned && moved), "{revision:?} moved");
        // Neither of these two moved this time.
        if !is_pinned && revision != Some(short) && revision != Some("release") {
            assert_eq!(now, [second.as_str()], "{revision:?}");
        }
    }
    // A tag can be moved as well; who demands commits is safe from that.
    let path = format!("{api}/tags/v1.0.0");
    place.gitea.api(Method::DELETE, &path, None).await?;
    tag("v1.0.0").await?;
    let moved = place.sources.resolve(&of(Some("v1.0.0"))).await?;
    assert_eq!(moved, [second.as_str()]);

    // Only for some destinations.
    let server = "https://kubernetes.default.svc";
    for (pattern, found_there) in [("pinned-*", 1), ("prod", 0)] {
        let some = PinnedRevision::at([DestinationPattern::server(server, pattern)?]);
        let lines = found(&some, &of(Some("main")), &none).await?;
        assert_eq!(lines.len(), found_there, "{pattern}");
    }
    Ok(())
}

/// Pushes an image without layers under a tag; returns the digest that the registry names.
async fn push(host: &str, repository: &str, tag: &str, config: &Value) -> Result<String> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let config = config.to_string();
    let uploads = format!("http://{host}/v2/{repository}/blobs/uploads/");
    let begun = client.post(uploads).send().await?.error_for_status()?;
    let location = begun.headers().get("location").context("no location")?;
    let digest = format!("sha256:{}", hex::encode(Sha256::digest(&config)));
    let url = format!("{}&digest={digest}", location.to_str()?);
    let size = config.len();
    (client.put(url).body(config).send().await?).error_for_status()?;
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": kind, "layers": [],
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": size},
    });
    let put = client
        .put(format!("http://{host}/v2/{repository}/manifests/{tag}"))
        .header("content-type", kind)
        .body(manifest.to_string());
    put.send().await?.error_for_status()?;
    digest_of(host, repository, tag)
        .await?
        .context("not pushed")
}

/// What the registry has under a tag or a digest.
async fn digest_of(host: &str, repository: &str, reference: &str) -> Result<Option<String>> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let head = client
        .head(format!(
            "http://{host}/v2/{repository}/manifests/{reference}"
        ))
        .header("accept", "application/vnd.oci.image.manifest.v1+json");
    let answer = head.send().await?;
    if answer.status() == reqwest::StatusCode::NOT_FOUND {
        return Ok(None);
    }
    let answer = answer.error_for_status()?;
    let digest = answer.headers().get("docker-content-digest");
    Ok(Some(digest.context("no digest")?.to_str()?.to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn images_of_a_registry_are_those_that_were_pushed_there() -> Result<()> {
    let host = &e2e::registry().await?.host;
    let config =
        |version: &str| json!({"architecture": "amd64", "os": "linux", "version": version});
    let repository = format!(
        "e2e-images-{}/web",
        hex::encode(fastrand::u32(..).to_be_bytes())
    );
    let first = push(host, &repository, "1.0", &config("1")).await?;
    push(host, &repository, "latest", &config("1")).await?;
    let place = Place::new("images").await?;
    let pinned = format!("{host}/{repository}@{first}");
    let absent = format!("{host}/{repository}@sha256:{}", "0".repeat(64));
    let manifest = format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  selector: {{matchLabels: {{a: b}}}}
  template:
    metadata: {{labels: {{a: b}}}}
    spec:
      initContainers:
        - {{name: i, image: '{pinned}'}}
      containers:
        - {{name: a, image: '{host}/{repository}:1.0'}}
        - {{name: b, image: '{host}/{repository}'}}
        - {{name: c, image: '{host}/{repository}:latest'}}
        - {{name: d, image: '{host}/elsewhere/web:1.0'}}
        - {{name: e, image: 'nginx:1.27'}}
        - {{name: f, image: '{absent}'}}
        - {{name: g, image: 'NOT AN IMAGE'}}
"
    );
    place.commit(&[("apps/web/a.yaml", &manifest)]).await?;
    let app = place.app("web");
    let rendered = place.sources.render(&app, &[]).await?;
    let at = |list: &str, index: usize, code: &str| {
        format!(
            "apps/web/a.yaml:1:1 error Deployment/web /spec/template/spec/{list}/{index}/image {code}"
        )
    };
    let allowed = AllowedImages::new().registries([&*format!("{host}/e2e-images-*/*")])?;
    assert_eq!(
        found(&allowed, &app, &rendered.manifests).await?,
        [
            at("containers", 1, "image-not-pinned"),
            at("containers", 2, "image-not-pinned"),
            at("containers", 3, "image-denied"),
            at("containers", 4, "image-denied"),
            at("containers", 6, "invalid-image"),
        ]
    );
    let lenient = allowed.clone().allow_latest(true);
    assert_eq!(found(&lenient, &app, &rendered.manifests).await?.len(), 3);
    let digests = allowed.clone().only_digests(true);
    let lines = found(&digests, &app, &rendered.manifests).await?;
    let not_pinned = lines.iter().filter(|l| l.ends_with("image-not-pinned"));
    assert_eq!(not_pinned.count(), 5, "{lines:?}");

    // Why: a tag is moved, and only the digest still means what was judged. Whether an image exists at all, only the registry knows.
    let second = push(host, &repository, "1.0", &config("2")).await?;
    ensure!(first != second, "the same image");
    assert_eq!(digest_of(host, &repository, "1.0").await?, Some(second));
    assert_eq!(digest_of(host, &repository, &first).await?, Some(first));
    let absent = absent.split_once('@').map_or("", |(_, digest)| digest);
    assert_eq!(digest_of(host, &repository, absent).await?, None);
    Ok(())
}
