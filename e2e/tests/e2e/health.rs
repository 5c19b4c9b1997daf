//! Health, held against what gitops-engine and Argo CD say of their own fixtures, and on the real node.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use gitops_core::application::{Health, HealthStatus};
use gitops_core::manifest::{ManifestSet, Object, yaml};
use gitops_kube::cluster::KubeCluster;
use gitops_kube::engine::{ApplySet, Engine, EngineOptions, WaitOptions};
use gitops_kube::health::HealthRules;
use serde_json::json;

/// Where our strict reading and gitops-engine's verdict differ on purpose.
const ENGINE_DIFFERENCES: &[(&str, &str)] = &[
    (
        "application-degraded.yaml",
        "gitops-engine has no rule for Applications any more; Argo CD's Lua check says what we say",
    ),
    (
        "hpa-v1-healthy.yaml",
        "gitops-engine stops at the first condition; the third says that the autoscaler cannot get its metrics",
    ),
];

/// The objects of fixtures, read by the Go library as their own tests do: some name a key twice. Some have no name, which no live object lacks.
fn read(files: &[PathBuf]) -> Result<Vec<Object>> {
    let texts: Vec<Vec<u8>> = files
        .iter()
        .map(|file| std::fs::read(file).with_context(|| format!("cannot read {}", file.display())))
        .collect::<Result<_>>()?;
    let values = e2e::peers::yaml_read(&texts)?;
    files
        .iter()
        .zip(values)
        .map(|(file, verdict)| {
            let mut value = verdict
                .json
                .with_context(|| format!("{}: {:?}", file.display(), verdict.error))?;
            if value["metadata"]["name"].is_null() {
                value["metadata"]["name"] = "fixture".into();
            }
            Object::new(value, None).with_context(|| file.display().to_string())
        })
        .collect()
}

#[test]
fn gitops_engines_fixtures_are_judged_alike() -> Result<()> {
    let folder = e2e::module_dir("github.com/argoproj/gitops-engine")?.join("pkg/health/testdata");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    files.sort();
    let verdicts = e2e::peers::health(&files)?;
    let rules = HealthRules::strict();
    let (mut alike, mut wrong) = (0, Vec::new());
    for ((file, object), verdict) in files.iter().zip(read(&files)?).zip(&verdicts) {
        let name = file
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let ours = rules.assess(&object);
        // No rule there: Argo CD then counts the resource as healthy.
        let theirs = if verdict.status.is_empty() {
            "Healthy"
        } else {
            &verdict.status
        };
        let known = ENGINE_DIFFERENCES.iter().find(|(known, _)| *known == name);
        match (ours.status.to_string() == theirs, known) {
            (true, None) => alike += 1,
            (false, Some((_, why))) => {
                println!("{name}: ours {}, theirs {theirs}: {why}", ours.status)
            }
            (true, Some(_)) => {
                wrong.push(format!("{name}: listed as a difference, and there is none"))
            }
            (false, None) => wrong.push(format!(
                "{name}: ours {} ({}), theirs {theirs} ({}) {:?}",
                ours.status, ours.message, verdict.message, verdict.error
            )),
        }
    }
    println!(
        "gitops-engine's fixtures: {alike} of {} judged alike ({:.0} %), {} differ on purpose",
        files.len(),
        100.0 * alike as f64 / files.len() as f64,
        ENGINE_DIFFERENCES.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Kinds of Argo CD's Lua checks that we have a rule for: all of their fixtures have to agree, but for those listed below.
const LUA_KINDS: &[&str] = &[
    "argoproj.io/Rollout",
    "argoproj.io/Application",
    "argoproj.io/Workflow",
    "cert-manager.io/Certificate",
    "cert-manager.io/Issuer",
    "cert-manager.io/ClusterIssuer",
    "external-secrets.io/ExternalSecret",
    "kustomize.toolkit.fluxcd.io/Kustomization",
    "helm.toolkit.fluxcd.io/HelmRelease",
    "source.toolkit.fluxcd.io/GitRepository",
    "source.toolkit.fluxcd.io/OCIRepository",
    "source.toolkit.fluxcd.io/HelmRepository",
    "source.toolkit.fluxcd.io/HelmChart",
    "source.toolkit.fluxcd.io/Bucket",
    "tekton.dev/TaskRun",
    "tekton.dev/PipelineRun",
];

/// Fixtures of these kinds where we differ on purpose.
const LUA_DIFFERENCES: &[(&str, &str)] = &[(
    "kustomize.toolkit.fluxcd.io/Kustomization/degraded.yaml",
    "its source is not there; Flux asks again by itself, so it may yet come",
)];

/// Rollouts of Argo Rollouts before 1.0 (2021) tell no phase: their health is Unknown, and says why.
fn is_ancient(object: &Object) -> bool {
    object.kind() == "Rollout"
        && object.pointer("/status").is_some()
        && object.pointer("/status/phase").is_none()
}

/// Each fixture of Argo CD's Lua checks: its kind, its file, and the status that it must have.
fn lua_fixtures() -> Result<Vec<(String, PathBuf, String)>> {
    let folder = e2e::module_dir("github.com/argoproj/argo-cd/v3")?.join("resource_customizations");
    let mut fixtures = Vec::new();
    for group in folders(&folder)? {
        for kind in folders(&group)? {
            let tests = kind.join("health_test.yaml");
            if !tests.is_file() {
                continue;
            }
            let table = yaml::parse_value("health_test.yaml", &std::fs::read(&tests)?)?;
            for test in table["tests"].as_array().into_iter().flatten() {
                let input = test["inputPath"]
                    .as_str()
                    .or(test["inputpath"].as_str())
                    .context("a test without input")?;
                let status = test["healthStatus"]["status"]
                    .as_str()
                    .context("a test without status")?;
                let kind_name = kind.strip_prefix(&folder)?.display().to_string();
                fixtures.push((kind_name, kind.join(input), status.to_owned()));
            }
        }
    }
    Ok(fixtures)
}

fn folders(path: &Path) -> Result<Vec<PathBuf>> {
    let mut folders: Vec<_> = std::fs::read_dir(path)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    folders.retain(|path| path.is_dir());
    folders.sort();
    Ok(folders)
}

#[test]
fn argo_cds_fixtures_are_judged_alike_where_we_have_a_rule() -> Result<()> {
    let fixtures = lua_fixtures()?;
    let files: Vec<_> = fixtures.iter().map(|(_, file, _)| file.clone()).collect();
    let rules = HealthRules::strict();
    let (mut ancient, mut wrong) = (0, Vec::new());
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for ((kind, file, theirs), object) in fixtures.iter().zip(read(&files)?) {
        let ours: Health = rules.assess(&object);
        let ruled = LUA_KINDS.contains(&kind.as_str());
        if is_ancient(&object) && ours.status == HealthStatus::Unknown {
            ancient += 1;
            continue;
        }
        let alike = ours.status.to_string() == *theirs;
        let (agree, all) = counts
            .entry(if ruled { "with a rule" } else { "without" })
            .or_default();
        *all += 1;
        *agree += usize::from(alike);
        let name = format!(
            "{kind}/{}",
            file.file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default()
        );
        let known = LUA_DIFFERENCES.iter().find(|(known, _)| *known == name);
        match (alike, known) {
            (false, Some((_, why))) => {
                println!("{name}: ours {}, theirs {theirs}: {why}", ours.status)
            }
            (true, Some(_)) => {
                wrong.push(format!("{name}: listed as a difference, and there is none"))
            }
            (false, None) if ruled => wrong.push(format!(
                "{name}: ours {} ({}), theirs {theirs}",
                ours.status, ours.message
            )),
            _ => {}
        }
    }
    println!("Rollouts before 1.0, Unknown on purpose: {ancient}");
    for (which, (agree, all)) in counts {
        println!("Argo CD's Lua fixtures, kinds {which}: {agree} of {all} judged alike");
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    Ok(())
}

/// Syncs a Deployment that never becomes ready, and gives what the engine says about it. A container that ends at once may be seen running for a
/// moment: only `minReadySeconds` keeps its Deployment from being available then.
async fn failing(name: &str, image: &str, command: &[&str]) -> Result<String> {
    e2e::node().await?;
    let cluster = e2e::cluster().await?;
    let namespace = cluster.namespace(name).await?.name().to_owned();
    let engine = Engine::new(Arc::new(KubeCluster::new(cluster.client().await?)));
    let options = EngineOptions {
        namespace: namespace.clone(),
        wait: Some(WaitOptions {
            timeout: Duration::from_secs(300),
            fail_fast: true,
        }),
        ..EngineOptions::default()
    };
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 1, "minReadySeconds": 10, "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "main", "image": image, "imagePullPolicy": "IfNotPresent", "command": command}]}}}});
    let manifests = ManifestSet::from_objects([Object::new(deployment, None)?])?;
    let started = Instant::now();
    let report = engine
        .sync(&ApplySet::new(name, &namespace)?, manifests, &options)
        .await?;
    let failure = report.failure.context("it became ready")?;
    println!("after {:.1} s: {failure}", started.elapsed().as_secs_f64());
    ensure!(
        started.elapsed() < Duration::from_secs(280),
        "it waited to the end instead of failing fast"
    );
    Ok(failure)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_whose_image_cannot_be_pulled_names_pod_and_reason() -> Result<()> {
    let failure = failing("unpullable", "127.0.0.1:1/nothing:1", &["sleep", "1000"]).await?;
    for part in [
        "Deployment.apps",
        "pod \"web-",
        "main",
        "ImagePull",
        "127.0.0.1:1/nothing:1",
    ] {
        assert!(
            failure.to_lowercase().contains(&part.to_lowercase()),
            "{part:?} is missing in {failure}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_whose_pod_crashes_names_pod_and_reason() -> Result<()> {
    let failure = failing("crashing", e2e::BUSYBOX, &["sh", "-c", "exit 3"]).await?;
    for part in [
        "Deployment.apps",
        "pod \"web-",
        "main",
        "CrashLoopBackOff",
        "3",
    ] {
        assert!(
            failure.to_lowercase().contains(&part.to_lowercase()),
            "{part:?} is missing in {failure}"
        );
    }
    Ok(())
}
