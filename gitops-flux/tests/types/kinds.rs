use gitops_flux::kind::FluxKind;
use gitops_flux::types::{
    Alert, Bucket, ExternalArtifact, GitRepository, HelmChart, HelmRelease, HelmRepository,
    ImagePolicy, ImageRepository, ImageUpdateAutomation, Kustomization, OCIRepository,
    ObjectReference, Provider, Receiver,
};
use gitops_flux::{FluxResource, types};
use serde_json::{Value, json};

/// Runs `$check` for each kind.
macro_rules! for_all_kinds {
    ($check:ident) => {{
        $check::<GitRepository>();
        $check::<OCIRepository>();
        $check::<Bucket>();
        $check::<HelmRepository>();
        $check::<HelmChart>();
        $check::<ExternalArtifact>();
        $check::<Kustomization>();
        $check::<HelmRelease>();
        $check::<Alert>();
        $check::<Provider>();
        $check::<Receiver>();
        $check::<ImageRepository>();
        $check::<ImagePolicy>();
        $check::<ImageUpdateAutomation>();
        14
    }};
}

#[test]
fn a_resource_is_its_kind() {
    fn check<K: FluxResource>() {
        let kind = K::KIND;
        assert_eq!(K::kind(&()), kind.kind());
        assert_eq!(K::group(&()), kind.group());
        assert_eq!(K::version(&()), kind.version());
        assert_eq!(K::plural(&()), kind.plural());
        assert_eq!(K::api_version(&()), kind.api_version());
        assert_eq!(
            K::url_path(&(), Some("apps")),
            format!(
                "/apis/{}/namespaces/apps/{}",
                kind.api_version(),
                kind.plural()
            )
        );
        let new = serde_json::to_value(K::default()).unwrap();
        assert_eq!(new["apiVersion"], kind.api_version());
        assert_eq!(new["kind"], kind.kind());
        assert_eq!(FluxKind::of(kind.group(), kind.kind()), Some(kind));
    }
    assert_eq!(for_all_kinds!(check), FluxKind::ALL.len());
}

#[test]
fn what_can_be_suspended_can_be_resumed() {
    fn check<K: FluxResource + PartialEq>() {
        let mut object = K::default();
        let can = K::KIND.can_suspend();
        assert_eq!(object.suspended(), can.then_some(false), "{}", K::KIND);
        assert_eq!(object.set_suspended(true), can);
        assert_eq!(object.suspended(), can.then_some(true));
        let written = serde_json::to_value(&object).unwrap();
        assert_eq!(written.pointer("/spec/suspend").is_some(), can);
        object.set_suspended(false);
        assert_eq!(object, K::default());
    }
    for_all_kinds!(check);
}

/// An object with all that a status of any kind has.
fn reconciled(kind: FluxKind) -> Value {
    json!({
        "apiVersion": kind.api_version(), "kind": kind.kind(),
        "metadata": {"name": "a", "namespace": "ns"},
        "status": {
            "observedGeneration": 3, "lastHandledReconcileAt": "token",
            "artifact": {"path": "p", "url": "u", "revision": "main@sha1:1"},
            "conditions": [
                {"type": "Reconciling", "status": "True"},
                {"type": "Ready", "status": "False", "reason": "Failed", "message": "no", "newer": 1},
            ],
        },
    })
}

#[test]
fn a_status_is_read_alike_for_all_kinds() {
    fn check<K: FluxResource>() {
        let kind = K::KIND;
        let document = reconciled(kind);
        let mut object: K = serde_json::from_value(document.clone()).unwrap();
        assert_eq!(object.id(), kind.object_id("ns", "a"));
        let ready = object.ready();
        assert_eq!(ready.is_some(), kind.has_status(), "{kind}");
        if let Some(ready) = ready {
            assert!(ready.is_false() && !ready.is_true());
            assert_eq!((ready.reason(), ready.message()), ("Failed", "no"));
        }
        let token = object.last_handled_reconcile_at();
        assert_eq!(token.is_some(), kind.can_reconcile(), "{kind}");
        assert_eq!(object.observed_generation().is_some(), token.is_some());
        assert_eq!(object.artifact().is_some(), kind.is_source(), "{kind}");
        // Whatever the kind does not know of it is still there.
        let written = serde_json::to_value(&object).unwrap();
        assert_eq!(written["status"], document["status"]);
        object.clear_status();
        let written = serde_json::to_value(&object).unwrap();
        assert!(written.get("status").is_none(), "{kind}");
    }
    for_all_kinds!(check);
}

#[test]
fn kinds_have_the_names_that_people_use() {
    for (text, kind) in [
        ("ks", FluxKind::Kustomization),
        ("kustomization", FluxKind::Kustomization),
        ("Kustomizations", FluxKind::Kustomization),
        ("hr", FluxKind::HelmRelease),
        ("source git", FluxKind::GitRepository),
        ("sources git", FluxKind::GitRepository),
        ("gitrepo", FluxKind::GitRepository),
        ("GitRepository", FluxKind::GitRepository),
        (
            "gitrepositories.source.toolkit.fluxcd.io",
            FluxKind::GitRepository,
        ),
        ("source chart", FluxKind::HelmChart),
        ("source  oci", FluxKind::OCIRepository),
        ("alert-provider", FluxKind::Provider),
        ("alert-providers", FluxKind::Provider),
        ("images policy", FluxKind::ImagePolicy),
        ("image update", FluxKind::ImageUpdateAutomation),
        ("receivers", FluxKind::Receiver),
    ] {
        assert_eq!(text.parse::<FluxKind>().unwrap(), kind, "{text}");
    }
    for text in [
        "",
        "s",
        "source",
        "deployment",
        "kustomizations.apps",
        "git",
    ] {
        assert!(text.parse::<FluxKind>().is_err(), "{text}");
    }
    for kind in FluxKind::ALL {
        for name in [kind.kind(), kind.plural(), kind.command()]
            .iter()
            .chain(kind.aliases())
        {
            assert_eq!(name.parse::<FluxKind>().unwrap(), kind, "{name}");
        }
    }
}

#[test]
fn a_source_is_found() {
    let app = Kustomization::new("app")
        .in_namespace("apps")
        .source(ObjectReference::new("GitRepository", "repo"));
    let source = app.resolved_source_ref().unwrap();
    assert_eq!(source.namespace.as_deref(), Some("apps"));
    assert_eq!(
        FluxKind::of_reference(&source),
        Some(FluxKind::GitRepository)
    );

    let elsewhere = ObjectReference::new("HelmRepository", "charts").in_namespace("flux-system");
    let release = HelmRelease::new("app").in_namespace("apps");
    let charted = release.clone().chart("podinfo", elsewhere.clone());
    assert_eq!(charted.resolved_source_ref(), Some(elsewhere));
    let referring = release.chart_ref(ObjectReference::new("OCIRepository", "podinfo"));
    assert_eq!(referring.source_ref().unwrap().kind, "OCIRepository");

    let mut policy = ImagePolicy::new("p").in_namespace("apps");
    policy.spec.image_repository_ref.name = "images".into();
    let source = policy.resolved_source_ref().unwrap();
    assert_eq!(
        FluxKind::of_reference(&source),
        Some(FluxKind::ImageRepository)
    );

    let foreign = ObjectReference {
        api_version: Some("example.org/v1".into()),
        ..ObjectReference::new("GitRepository", "repo")
    };
    assert_eq!(FluxKind::of_reference(&foreign), None);
}

#[test]
fn a_release_has_its_name() {
    let release = HelmRelease::new("podinfo").in_namespace("apps");
    assert_eq!(release.release_name(), "podinfo");
    assert_eq!(release.release_namespace(), "apps");
    let release = release.target_namespace("prod");
    assert_eq!(release.release_name(), "prod-podinfo");
    assert_eq!(release.release_namespace(), "prod");
    // As helm-controller's own test has it.
    let mut long = HelmRelease::new("x");
    long.spec.release_name =
        Some("this-is-a-long-release-name-that-exceeds-the-limit-of-53-chars".into());
    let short = long.release_name();
    assert_eq!(short.len(), 53);
    assert!(
        short.starts_with("this-is-a-long-release-name-that-exceeds-"),
        "{short}"
    );
}

#[test]
fn the_newest_release_is_found_in_any_order() {
    let mut release = HelmRelease::new("a");
    let snapshot = |version, chart: &str| types::ReleaseSnapshot {
        version,
        chart_version: chart.into(),
        ..Default::default()
    };
    let status = release.status.get_or_insert_default();
    status.history = Some(vec![snapshot(2, "1.1.0"), snapshot(3, "1.2.0")]);
    assert_eq!(release.last_applied_revision(), Some("1.2.0"));
}

/// The documents of the seed, made by builders.
#[test]
fn builders_make_what_people_write() {
    let repo = GitRepository::new("gitops-repo")
        .in_namespace("flux-system")
        .url("https://github.com/org/gitops-repo")
        .branch("main")
        .interval("1m")
        .secret("flux-system");
    assert_eq!(
        serde_json::to_value(&repo).unwrap(),
        json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository",
            "metadata": {"name": "gitops-repo", "namespace": "flux-system"},
            "spec": {"interval": "1m", "url": "https://github.com/org/gitops-repo", "ref": {"branch": "main"}, "secretRef": {"name": "flux-system"}},
        })
    );
    let app = Kustomization::new("my-app")
        .in_namespace("flux-system")
        .interval("10m")
        .path("./k8s/my-app")
        .prune(true)
        .source(ObjectReference::new("GitRepository", "gitops-repo"))
        .health_check(ObjectReference {
            api_version: Some("apps/v1".into()),
            ..ObjectReference::new("Deployment", "my-app").in_namespace("default")
        })
        .timeout("5m");
    assert_eq!(
        serde_json::to_value(&app).unwrap(),
        json!({
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
            "metadata": {"name": "my-app", "namespace": "flux-system"},
            "spec": {
                "interval": "10m", "path": "./k8s/my-app", "prune": true, "timeout": "5m",
                "sourceRef": {"kind": "GitRepository", "name": "gitops-repo"},
                "healthChecks": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "my-app", "namespace": "default"}],
            },
        })
    );
}
