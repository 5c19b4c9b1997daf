//! Hostile and broken input, and programs that are not there or do not end.

use std::time::{Duration, Instant};

use anyhow::Result;
use gitops_core::ErrorKind;
use gitops_core::application::{Helm, HelmParameter, Kustomize, Render};
use gitops_core::manifest::TreeEntry;
use gitops_core::manifest::render::{
    HelmRenderer, KustomizeRenderer, ProgramOptions, RenderRequest, Renderer, Renderers,
};
use serde_json::json;

use super::{Files, options, renderers};

async fn error(renderers: &Renderers, request: &RenderRequest) -> gitops_core::Error {
    match renderers.render(request).await {
        Ok(set) => panic!("rendered {} objects", set.len()),
        Err(error) => error,
    }
}

const CANARY: &str = "canary-7f3a";

/// No value that was given is in the error, in any form that it has.
fn assert_silent(error: &gitops_core::Error) {
    for text in [
        error.to_string(),
        format!("{error:?}"),
        format!("{error:#}"),
    ] {
        assert!(!text.contains("canary"), "{text}");
        assert!(!text.contains("Y2FuYXJ5"), "base64: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_not_in_errors() -> Result<()> {
    let renderers = renderers()?;
    let chart = (
        "web/Chart.yaml",
        "apiVersion: v2\nname: web\nversion: 1.0.0\n",
    );
    let secret = || Helm {
        values_object: json!({"password": CANARY}).as_object().cloned(),
        parameters: vec![HelmParameter {
            name: "token".into(),
            value: format!("{CANARY}-token"),
            force_string: false,
        }],
        ..Helm::default()
    };
    for (template, says) in [
        (
            "{{ fail (printf \"bad password %s and %s\" .Values.password .Values.token) }}",
            "web/templates/t.yaml:1:3: helm template failed",
        ),
        (
            "{{ fail (.Values.password | b64enc) }}",
            "web/templates/t.yaml:1:3",
        ),
        ("{{ fail (.Values | toJson) }}", "web/templates/t.yaml:1:3"),
        ("a: {{ .Values.password.deep }}", "web/templates/t.yaml:1:"),
        (
            "a: {{ .Values.password | int64 | fail }}",
            "web/templates/t.yaml:1:",
        ),
        ("a: b: {{ .Values.password }}", "web/templates/t.yaml"),
        ("{{ .Values.password }}", "web/templates/t.yaml"),
        (
            "apiVersion: v1\nkind: Secret\nmetadata: {name: '{{ .Values.password }}', labels: {a: [{{ .Values.token }}]}}",
            "web/templates/t.yaml",
        ),
        ("{{ unclosed", "web/templates/t.yaml:1"),
    ] {
        let files = Files::new(&[chart, ("web/templates/t.yaml", template)])?;
        let error = error(&renderers, &files.helm("web", secret())).await;
        println!("{error}");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{template}");
        assert!(error.to_string().contains(says), "{template}: {error}");
        assert_silent(&error);
    }
    // A schema that the values do not meet, values that are no YAML, and a parameter that is no parameter.
    let schema =
        r#"{"properties": {"password": {"type": "string", "pattern": "^[0-9]+$", "enum": ["a"]}}}"#;
    let files = Files::new(&[chart, ("web/values.schema.json", schema)])?;
    assert_silent(&error(&renderers, &files.helm("web", secret())).await);
    let broken = Helm {
        values: format!("a: [{CANARY}\nb: {CANARY}"),
        ..Helm::default()
    };
    let message = error(&renderers, &files.helm("web", broken)).await;
    assert!(
        message.to_string().contains("the application's values"),
        "{message}"
    );
    assert_silent(&message);
    let mut parameter = secret();
    parameter.parameters.push(HelmParameter {
        name: "a[".into(),
        value: format!("{{{CANARY}}}"),
        force_string: true,
    });
    assert_silent(&error(&renderers, &files.helm("web", parameter)).await);
    // The chart's own values, and value files.
    let files = Files::new(&[
        chart,
        ("web/values.yaml", "mine: canary-mine\n"),
        ("web/prod.yaml", "prod: canary-prod\n"),
        (
            "web/templates/t.yaml",
            "{{ fail (printf \"%s %s\" .Values.mine .Values.prod) }}",
        ),
    ])?;
    let prod = Helm {
        value_files: vec!["prod.yaml".into()],
        ..Helm::default()
    };
    assert_silent(&error(&renderers, &files.helm("web", prod)).await);

    let files = Files::new(&[
        (
            "k/kustomization.yaml",
            "resources: [d.yaml]\nsecretGenerator: [{name: s, literals: [canary-literal]}]\n",
        ),
        (
            "k/d.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: d}\n",
        ),
    ])?;
    let literal = error(&renderers, &files.kustomize("k", Kustomize::default())).await;
    println!("{literal}");
    assert!(
        literal
            .to_string()
            .starts_with("kustomize build of k failed"),
        "{literal}"
    );
    assert_silent(&literal);
    let files = Files::new(&[
        ("k/kustomization.yaml", "resources: [d.yaml]\n"),
        (
            "k/d.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: d}\n",
        ),
    ])?;
    for patch in [
        json!({"patch": format!("data: {{x: {CANARY}}}\n  y: ]"), "target": {"kind": "ConfigMap"}}),
        json!({"patch": format!("[{{op: replace, path: /data/gone, value: {CANARY}}}]"), "target": {"kind": "ConfigMap"}}),
        json!({"patch": format!("apiVersion: v1\nkind: Gone\nmetadata: {{name: x}}\ndata: {{x: {CANARY}}}")}),
    ] {
        let patched = Kustomize {
            patches: vec![patch],
            ..Kustomize::default()
        };
        let error = error(&renderers, &files.kustomize("k", patched)).await;
        println!("{error}");
        assert_silent(&error);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_outside_of_the_repository_is_read() -> Result<()> {
    let renderers = renderers()?;
    let outside = tempfile::NamedTempFile::new()?;
    std::fs::write(
        outside.path(),
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: stolen}\n",
    )?;
    let path = outside.path().display().to_string();
    for text in [
        "resources: [../../../../../../../../../../../../../../etc]".to_owned(),
        format!("resources: [../../../../../../../../../../..{path}]"),
        format!("resources: ['{path}']"),
        format!("patches: [{{path: '{path}'}}]"),
        format!("configMapGenerator: [{{name: a, files: ['{path}']}}]"),
        format!("configMapGenerator: [{{name: a, files: ['../../../../../../../..{path}']}}]"),
        format!("configMapGenerator: [{{name: a, envs: ['{path}']}}]"),
        format!("crds: ['{path}']"),
        format!("transformers: ['{path}']"),
        format!("openapi: {{path: '{path}'}}"),
        "resources: [https://127.0.0.1:1/x.yaml]".to_owned(),
        "resources: ['git::https://127.0.0.1:1/x?ref=main']".to_owned(),
        // A sibling of the kustomization is not below it, which is kustomize's own rule.
        "resources: [../other.yaml]".to_owned(),
        "bases: [../k]".to_owned(),
    ] {
        let files = Files::new(&[
            ("k/kustomization.yaml", &text),
            (
                "other.yaml",
                "apiVersion: v1\nkind: A\nmetadata: {name: a}\n",
            ),
        ])?;
        let error = error(&renderers, &files.kustomize("k", Kustomize::default())).await;
        println!("{text}\n  {error}");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}: {error}");
        assert!(!error.to_string().contains("gitops-render-"), "{error}");
    }
    let files = Files::new(&[
        (
            "web/Chart.yaml",
            "apiVersion: v2\nname: web\nversion: 1.0.0\n",
        ),
        (
            "web/templates/t.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: '{{ .Files.Get \"../../../../etc/hostname\" }}'}\n",
        ),
    ])?;
    let file = |name: &str| Helm {
        value_files: vec![name.into()],
        ..Helm::default()
    };
    for name in [
        "../../etc/passwd",
        "/../etc/passwd",
        "$gone/etc/passwd",
        "https://127.0.0.1:1/v.yaml",
        "file:///etc/passwd",
        "$r/../x.yaml",
    ] {
        let mut request = files.helm("web", file(name));
        request.refs.insert("r".into(), files.tree.clone());
        let error = error(&renderers, &request).await;
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}: {error}");
    }
    // An absolute path begins at the repository's root, and is not there.
    let absent = error(&renderers, &files.helm("web", file("/etc/passwd"))).await;
    assert_eq!(absent.kind(), ErrorKind::NotFound, "{absent}");
    let set = renderers
        .render(&files.helm("web", Helm::default()))
        .await?;
    assert_eq!(
        set.iter()
            .next()
            .and_then(|map| map.pointer("/data/x").cloned()),
        Some(json!(""))
    );
    Ok(())
}

/// What the program would fetch by itself stays unreachable even where our checks do not look.
#[tokio::test(flavor = "multi_thread")]
async fn no_request_leaves_while_rendering() -> Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let url = format!("http://127.0.0.1:{port}/schema.json");
    // A schema in an archive, which our check of schemas does not open.
    let chart = tempfile::tempdir()?;
    let sub = chart.path().join("sub");
    std::fs::create_dir(&sub)?;
    std::fs::write(
        sub.join("Chart.yaml"),
        "apiVersion: v2\nname: sub\nversion: 1.0.0\n",
    )?;
    std::fs::write(
        sub.join("values.schema.json"),
        json!({"$ref": url}).to_string(),
    )?;
    e2e::run(
        tokio::process::Command::new(e2e::program("helm")?)
            .arg("package")
            .arg(&sub)
            .arg("-d")
            .arg(chart.path()),
    )
    .await?;
    let mut files = Files::new(&[(
        "web/Chart.yaml",
        "apiVersion: v2\nname: web\nversion: 1.0.0\n",
    )])?;
    let archive = std::fs::read(chart.path().join("sub-1.0.0.tgz"))?;
    files
        .tree
        .insert("web/charts/sub-1.0.0.tgz", TreeEntry::File(archive.into()))?;
    let renderers = renderers()?;
    let error = error(&renderers, &files.helm("web", Helm::default())).await;
    println!("{error}");
    let connected = tokio::time::timeout(Duration::from_millis(200), listener.accept()).await;
    assert!(connected.is_err(), "helm reached the network");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_takes_all_memory_ends_in_an_error() -> Result<()> {
    let files = Files::new(&[
        (
            "web/Chart.yaml",
            "apiVersion: v2\nname: web\nversion: 1.0.0\n",
        ),
        (
            "web/templates/t.yaml",
            "a: {{ repeat 2000000000 \"canary\" }}",
        ),
    ])?;
    let error = error(&renderers()?, &files.helm("web", Helm::default())).await;
    assert_eq!(
        error.to_string(),
        "helm template needs more than 2147483648 bytes of memory"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_without_end_is_killed_at_the_deadline() -> Result<()> {
    // A little of helm's language goes a long way.
    let files = Files::new(&[
        (
            "web/Chart.yaml",
            "apiVersion: v2\nname: web\nversion: 1.0.0\n",
        ),
        (
            "web/templates/t.yaml",
            "{{ range $i := until 100000 }}{{ range $j := until 100000 }}{{ end }}{{ end }}",
        ),
    ])?;
    let helm = HelmRenderer::new(ProgramOptions {
        deadline: Duration::from_secs(2),
        ..options("helm")?
    });
    let started = Instant::now();
    let error = helm
        .render(&files.helm("web", Helm::default()))
        .await
        .map(|set| set.len())
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(started.elapsed() < Duration::from_secs(30));
    // And one whose future is dropped is gone as well, with its directory.
    let helm = HelmRenderer::new(options("helm")?);
    let dropped = tokio::time::timeout(
        Duration::from_secs(1),
        helm.render(&files.helm("web", Helm::default())),
    )
    .await;
    assert!(dropped.is_err());
    let mut left = Some(String::new());
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        left = orphan()?;
        if left.is_none() {
            break;
        }
    }
    assert_eq!(left, None, "it is still there");
    Ok(())
}

/// The name of a helm of this process that runs on, although its directory is gone.
fn orphan() -> Result<Option<String>> {
    let mine = std::process::id();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let Some((name, rest)) = stat.rsplit_once(") ") else {
            continue;
        };
        let mut fields = rest.split(' ');
        let (state, parent) = (fields.next(), fields.next());
        let running =
            name.ends_with("(helm") && parent == Some(&mine.to_string()) && state != Some("Z");
        let cwd = std::fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        if running
            && cwd.display().to_string().contains("gitops-render-")
            && cwd.ends_with("web (deleted)")
        {
            return Ok(Some(name.to_owned()));
        }
    }
    Ok(None)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named_with_how_to_get_it() -> Result<()> {
    let files = Files::new(&[
        ("k/kustomization.yaml", ""),
        (
            "web/Chart.yaml",
            "apiVersion: v2\nname: web\nversion: 1.0.0\n",
        ),
    ])?;
    let gone = || ProgramOptions {
        program: Some("/nowhere/program".into()),
        ..ProgramOptions::default()
    };
    let renderers = Renderers::default()
        .with_kustomize(KustomizeRenderer::new(gone()))
        .with_helm(HelmRenderer::new(gone()));
    for path in ["k", "web"] {
        let error = error(&renderers, &files.request(path, Render::Auto)).await;
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(!error.is_retryable());
        assert!(error.to_string().contains("/nowhere/program"), "{error}");
    }
    let dependency = Files::new(&[(
        "Chart.yaml",
        "apiVersion: v2\nname: web\nversion: 1.0.0\ndependencies: [{name: redis, version: 1.0.0, repository: 'https://charts.example.com'}]\n",
    )])?;
    let error = error(&super::renderers()?, &dependency.helm("", Helm::default())).await;
    assert!(
        error.to_string().contains("\"redis\"")
            && error.to_string().contains("helm dependency update"),
        "{error}"
    );
    Ok(())
}
