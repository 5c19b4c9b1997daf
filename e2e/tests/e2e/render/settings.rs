//! Settings do what the programs' own options and edits do.

use std::path::Path;

use anyhow::Result;
use gitops_core::application::{
    Helm, HelmFileParameter, HelmParameter, Kustomize, KustomizeReplica, Render,
};
use gitops_core::manifest::Tree;
use gitops_core::manifest::TreeEntry;
use gitops_core::manifest::render::{HelmRenderer, KustomizeRenderer, Renderer as _};
use serde_json::{Value, json};

use super::{Files, options, printed, renderers, values};

const DEPLOYMENT: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: 'nginx:1'}
      - {name: side, image: busybox}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
";

fn kustomization() -> Result<Files> {
    Files::new(&[
        (
            "base/kustomization.yaml",
            "# the base\nresources: [web.yaml]\n",
        ),
        ("base/web.yaml", DEPLOYMENT),
        (
            "overlay/kustomization.yaml",
            "resources:\n- ../base\npatches:\n- target: {kind: Service}\n  patch: '[{\"op\": \"add\", \"path\": \"/spec/type\", \"value\": \"NodePort\"}]'\n\
             configMapGenerator: [{name: generated, literals: [a=b]}]\n",
        ),
        (
            "parts/extra/kustomization.yaml",
            "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\ncommonAnnotations: {extra: 'yes'}\n",
        ),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn kustomize_settings_are_edits() -> Result<()> {
    let files = kustomization()?;
    let patch = json!({"target": {"kind": "Deployment"}, "patch": "[{\"op\": \"add\", \"path\": \"/spec/paused\", \"value\": true}]"});
    let settings = Kustomize {
        name_prefix: "-pre-".into(),
        name_suffix: "-suf".into(),
        images: vec!["nginx=example.com/nginx:2@sha256:0000000000000000000000000000000000000000000000000000000000000000".into(), "busybox:$ARGOCD_APP_REVISION_SHORT".into()],
        replicas: vec![KustomizeReplica { name: "web".into(), count: json!("3") }],
        common_labels: [("team".to_owned(), "$ARGOCD_APP_NAME".to_owned())].into(),
        common_annotations: [("note".to_owned(), "a: b, c $ARGOCD_APP_NAME".to_owned())].into(),
        namespace: "elsewhere".into(),
        patches: vec![patch.clone()],
        components: vec!["../parts/extra".into(), "../parts/gone".into()],
        ignore_missing_components: true,
        ..Kustomize::default()
    };
    let ours = values(
        renderers()?
            .render(&files.kustomize("overlay", settings))
            .await?,
    );

    // The same by hand, in the directory.
    let overlay = files.dir.path().join("overlay");
    for args in [
        &["set", "nameprefix", "--", "-pre-"][..],
        &["set", "namesuffix", "--", "-suf"],
        &[
            "set",
            "image",
            "nginx=example.com/nginx:2@sha256:0000000000000000000000000000000000000000000000000000000000000000",
            "busybox:0123456",
        ],
        &["set", "replicas", "web=3"],
        &["add", "label", "team:app"],
        &["add", "annotation", "note:a: b, c $ARGOCD_APP_NAME"],
        &["set", "namespace", "elsewhere"],
        &["add", "component", "../parts/extra"],
        &[
            "add",
            "patch",
            "--kind",
            "Deployment",
            "--patch",
            patch["patch"].as_str().unwrap_or_default(),
        ],
    ] {
        printed("kustomize", &overlay, &[&["edit"], args].concat())?;
    }
    let theirs = printed("kustomize", &overlay, &["build", "."])?;
    assert_eq!(ours, theirs);
    // And they took effect.
    let deployment = ours
        .iter()
        .find(|object| object["kind"] == "Deployment")
        .map(Value::to_string)
        .unwrap_or_default();
    for part in [
        "-pre-web-suf",
        "example.com/nginx:2@sha256",
        "busybox:0123456",
        "\"replicas\":3",
        "\"team\":\"app\"",
        "\"paused\":true",
        "\"extra\":\"yes\"",
        "elsewhere",
    ] {
        assert!(
            deployment.contains(part),
            "{part} is missing in {deployment}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_without_selectors_and_forced() -> Result<()> {
    let files = kustomization()?;
    let labels = Kustomize {
        common_labels: [("app".to_owned(), "other".to_owned())].into(),
        label_without_selector: true,
        label_include_templates: true,
        ..Kustomize::default()
    };
    let ours = values(
        renderers()?
            .render(&files.kustomize("base", labels.clone()))
            .await?,
    );
    let deployment = &ours[1];
    assert_eq!(deployment["spec"]["selector"]["matchLabels"]["app"], "web");
    assert_eq!(
        deployment["spec"]["template"]["metadata"]["labels"]["app"],
        "other"
    );
    // One that is in the kustomization is not overwritten unless forced.
    let files = Files::new(&[
        (
            "kustomization.yaml",
            "resources: [web.yaml]\ncommonLabels: {app: mine}\n",
        ),
        ("web.yaml", DEPLOYMENT),
    ])?;
    let mut plain = Kustomize {
        common_labels: labels.common_labels,
        ..Kustomize::default()
    };
    let error = renderers()?
        .render(&files.kustomize("", plain.clone()))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("commonLabels") && error.contains("app"),
        "{error}"
    );
    plain.force_common_labels = true;
    let ours = values(renderers()?.render(&files.kustomize("", plain)).await?);
    assert_eq!(ours[0]["metadata"]["labels"]["app"], "other");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_builds_what_needs_no_edit() -> Result<()> {
    let files = kustomization()?;
    let kubectl = KustomizeRenderer::new(options("kubectl")?);
    let ours = values(
        kubectl
            .render(&files.kustomize("overlay", Kustomize::default()))
            .await?,
    );
    assert_eq!(
        ours,
        printed(
            "kustomize",
            &files.dir.path().join("overlay"),
            &["build", "."]
        )?
    );
    let prefix = Kustomize {
        name_prefix: "x-".into(),
        ..Kustomize::default()
    };
    let error = kubectl
        .render(&files.kustomize("overlay", prefix))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("namePrefix") && error.contains("install kustomize"),
        "{error}"
    );
    let version = Kustomize {
        version: "v4.5.7".into(),
        ..Kustomize::default()
    };
    let error = kubectl
        .render(&files.kustomize("overlay", version.clone()))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("v4.5.7"), "{error}");
    let named = kubectl.version("v4.5.7", e2e::program("kustomize")?);
    assert_eq!(
        named
            .render(&files.kustomize("overlay", version))
            .await?
            .len(),
        3
    );
    Ok(())
}

/// Charts inside of kustomizations, from the repository itself.
#[tokio::test(flavor = "multi_thread")]
async fn kustomize_inflates_charts_of_the_repository_when_enabled() -> Result<()> {
    let files = Files::new(&[
        (
            "k/kustomization.yaml",
            "helmCharts: [{name: web, releaseName: r, valuesInline: {port: 9}}]\n",
        ),
        ("k/charts/web/values.yaml", "port: 80\n"),
        (
            "k/charts/web/Chart.yaml",
            "apiVersion: v2\nname: web\nversion: 1.0.0\n",
        ),
        (
            "k/charts/web/templates/s.yaml",
            "apiVersion: v1\nkind: Service\nmetadata: {name: '{{ .Release.Name }}', labels: {k: '{{ .Capabilities.KubeVersion.Version }}'}}\nspec: {ports: [{port: {{ .Values.port }}}]}\n",
        ),
    ])?;
    let renderer = KustomizeRenderer::new(options("kustomize")?);
    let mut request = files.kustomize("k", Kustomize::default());
    assert!(
        renderer
            .render(&request)
            .await
            .unwrap_err()
            .to_string()
            .contains("not enabled")
    );
    request.capabilities.kube_version = "1.31.2".into();
    let ours = values(
        renderer
            .enable_helm(e2e::program("helm")?)
            .render(&request)
            .await?,
    );
    assert_eq!(ours[0]["spec"]["ports"][0]["port"], 9);
    assert_eq!(ours[0]["metadata"]["labels"]["k"], "v1.31.2");
    Ok(())
}

const VALUES_MAP: &str = "apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-values
  namespace: {{ .Release.Namespace }}
data:
  values: {{ .Values | toJson | quote }}
  kube: {{ .Capabilities.KubeVersion.Version | quote }}
  api: {{ .Capabilities.APIVersions.Has \"example.com/v1\" | quote }}
";

fn chart() -> Result<Files> {
    Files::new(&[
        (
            "charts/web/Chart.yaml",
            "apiVersion: v2\nname: web-chart\nversion: 1.2.3\n",
        ),
        ("charts/web/values.yaml", "from: chart\nkeep: 1\n"),
        (
            "charts/web/prod.yaml",
            "from: prod\nprod: true\nlist: [a, b]\n",
        ),
        ("common/values.yaml", "from: common\ncommon: 0644\n"),
        ("charts/web/note.txt", "a text, with = and {braces}\n"),
        ("charts/web/templates/values.yaml", VALUES_MAP),
        (
            "charts/web/crds/crd.yaml",
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.example.com}\nspec:\n  group: example.com\n  \
             names: {kind: Thing, plural: things}\n  scope: Namespaced\n  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]\n",
        ),
        (
            "charts/web/templates/hook.yaml",
            "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: migrate\n  annotations: {helm.sh/hook: 'pre-install,pre-upgrade', helm.sh/hook-weight: '-5'}\n\
             spec: {template: {spec: {restartPolicy: Never, containers: [{name: m, image: x}]}}}\n",
        ),
        (
            "charts/web/templates/tests/test.yaml",
            "apiVersion: v1\nkind: Pod\nmetadata: {name: test, annotations: {helm.sh/hook: test}}\nspec: {containers: [{name: t, image: x}]}\n",
        ),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_settings_are_options() -> Result<()> {
    let files = chart()?;
    let mut other = Tree::new("fedcba", "", "other");
    other.insert(
        "envs/eu.yaml",
        TreeEntry::File(b"from: eu\neu: {deep: [1, 2]}\n".as_slice().into()),
    )?;
    let parameter = |name: &str, value: &str, force_string| HelmParameter {
        name: name.into(),
        value: value.into(),
        force_string,
    };
    let settings = Helm {
        release_name: "rel".into(),
        namespace: "ns".into(),
        value_files: vec![
            "prod.yaml".into(),
            "../../common/values.yaml".into(),
            "/common/values.yaml".into(),
            "$values/envs/eu.yaml".into(),
            "gone.yaml".into(),
        ],
        ignore_missing_value_files: true,
        values: "ignored: true\n".into(),
        values_object: json!({"from": "object", "object": {"n": 1.5, "yes": "no"}})
            .as_object()
            .cloned(),
        parameters: vec![
            parameter("number", "42", false),
            parameter("numberText", "42", true),
            parameter("text", "a,b=c \"quoted\" $ARGOCD_APP_NAME", false),
            parameter("list", "{x,y}", false),
            parameter("nothing", "null", false),
            parameter("deep.er[1].key", "v", false),
            parameter("from", "first", false),
            parameter("from", "second", false),
        ],
        file_parameters: vec![
            HelmFileParameter {
                name: "note".into(),
                path: "note.txt".into(),
            },
            HelmFileParameter {
                name: "eu.file".into(),
                path: "$values/envs/eu.yaml".into(),
            },
        ],
        kube_version: "1.30.1".into(),
        api_versions: vec!["example.com/v1".into(), "b/v1".into()],
        ..Helm::default()
    };
    let mut request = files.helm("charts/web", settings);
    request.refs.insert("values".into(), other);
    let ours = values(renderers()?.render(&request).await?);

    let eu = files.dir.path().join("eu.yaml");
    std::fs::write(&eu, "from: eu\neu: {deep: [1, 2]}\n")?;
    let object = files.dir.path().join("object.yaml");
    std::fs::write(&object, "from: object\nobject: {'n': 1.5, 'yes': 'no'}\n")?;
    let (eu, object) = (eu.display().to_string(), object.display().to_string());
    let theirs = printed(
        "helm",
        &files.dir.path().join("charts/web"),
        &[
            "template",
            ".",
            "--name-template",
            "rel",
            "--namespace",
            "ns",
            "--kube-version",
            "1.30.1",
            "--set",
            "number=42",
            "--set",
            "text=a\\,b=c \"quoted\" app",
            "--set",
            "list={x,y}",
            "--set",
            "nothing=null",
            "--set",
            "deep.er[1].key=v",
            "--set",
            "from=second",
            "--set-string",
            "numberText=42",
            "--set-file",
            "note=note.txt",
            "--set-file",
            &format!("eu.file={eu}"),
            "--values",
            "prod.yaml",
            "--values",
            "../../common/values.yaml",
            "--values",
            "../../common/values.yaml",
            "--values",
            &eu,
            "--values",
            &object,
            "--api-versions",
            "example.com/v1",
            "--api-versions",
            "b/v1",
            "--include-crds",
        ],
    )?;
    assert_eq!(ours, theirs);
    let map = ours
        .iter()
        .find(|object| object["kind"] == "ConfigMap")
        .cloned()
        .unwrap_or_default();
    assert_eq!(map["metadata"]["name"], "rel-values");
    assert_eq!(
        (&map["data"]["kube"], &map["data"]["api"]),
        (&json!("v1.30.1"), &json!("true"))
    );
    let seen: Value = serde_json::from_str(map["data"]["values"].as_str().unwrap_or_default())?;
    assert_eq!(seen["from"], "second");
    assert_eq!(seen["numberText"], "42");
    assert_eq!(seen["text"], "a,b=c \"quoted\" app");
    assert_eq!(seen["common"], 420);
    assert_eq!(seen["note"], "a text, with = and {braces}\n");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn crds_hooks_and_tests_of_a_chart() -> Result<()> {
    let files = chart()?;
    let renderers = renderers()?;
    let kinds = |set: &[Value]| {
        set.iter()
            .map(|object| object["kind"].as_str().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    // Found by itself, with the application's name and namespace.
    let set = renderers
        .render(&files.request("charts/web", Render::Auto))
        .await?;
    let origin = set
        .iter()
        .find(|object| object.kind() == "Job")
        .and_then(|object| object.origin().map(ToString::to_string));
    assert_eq!(
        origin.as_deref(),
        Some("charts/web/templates/hook.yaml (rendered):2:1")
    );
    let all = values(set);
    assert_eq!(
        kinds(&all),
        ["CustomResourceDefinition", "ConfigMap", "Pod", "Job"]
    );
    assert_eq!(all[1]["metadata"]["name"], "app-values");
    assert_eq!(all[1]["metadata"]["namespace"], "apps");
    assert_eq!(
        all[3]["metadata"]["annotations"]["helm.sh/hook"],
        "pre-install,pre-upgrade"
    );
    let less = Helm {
        skip_crds: true,
        skip_tests: true,
        ..Helm::default()
    };
    let less = values(renderers.render(&files.helm("charts/web", less)).await?);
    assert_eq!(kinds(&less), ["ConfigMap", "Job"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn charts_of_the_same_repository_are_put_in() -> Result<()> {
    let files = Files::new(&[
        (
            "web/Chart.yaml",
            "apiVersion: v2\nname: web\nversion: 1.0.0\ndependencies: [{name: lib, version: 0.1.0, repository: 'file://../shared/lib'}]\n",
        ),
        (
            "shared/lib/Chart.yaml",
            "apiVersion: v2\nname: lib\nversion: 0.1.0\n",
        ),
        (
            "shared/lib/templates/m.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: lib}\ndata: {v: '{{ .Values.v }}'}\n",
        ),
    ])?;
    let settings = Helm {
        values: "lib: {v: given}".into(),
        ..Helm::default()
    };
    let ours = values(renderers()?.render(&files.helm("web", settings)).await?);
    assert_eq!(ours.len(), 1);
    assert_eq!(ours[0]["data"]["v"], "given");
    Ok(())
}

/// Copies a program. Not by itself: what other tests start meanwhile would have the copy open for writing for a moment, and it could not be run.
async fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut cp = tokio::process::Command::new(e2e::system_program("cp")?);
    e2e::run(cp.arg(from).arg(to)).await.map(drop)
}

/// A second rendering of the same commit starts no program.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_unchanged_is_not_rendered_again() -> Result<()> {
    let files = chart()?;
    let dir = tempfile::tempdir()?;
    let helm = dir.path().join("helm");
    copy(&e2e::program("helm")?, &helm).await?;
    let mut program = options("helm")?;
    program.program = Some(helm.clone());
    let renderers = super::renderers()?.with_helm(HelmRenderer::new(program));
    let mut request = files.helm("charts/web", Helm::default());
    request.tree.hash = "t1".into();
    let first = values(renderers.render(&request).await?);
    let again = values(renderers.render(&request).await?);
    assert_eq!(first, again);
    let count = |renderers: &gitops_core::manifest::render::Renderers| {
        renderers
            .cache()
            .map(|cache| (cache.hits(), cache.misses()))
    };
    assert_eq!(count(&renderers), Some((1, 1)));
    // Another version of the program may render something else.
    let newer = dir.path().join("newer");
    copy(&e2e::program("helm")?, &newer).await?;
    std::fs::rename(newer, &helm)?;
    renderers.render(&request).await?;
    assert_eq!(count(&renderers), Some((1, 2)));
    Ok(())
}
