//! The kustomizations and charts that Argo CD and helm bring for their own tests.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, ensure};
use gitops_core::application::{Render, Source};
use gitops_core::manifest::render::{
    HelmRenderer, KUSTOMIZATIONS, KustomizeRenderer, RenderRequest, Renderer,
};

use serde_json::Value;

use super::{module, options, printed, read_tree, values};

/// Renders every directory of `root` that has one of the files `marks`, and compares with what the program prints there. Those that the
/// program refuses must be refused by us; `better` may come out all the same. Gives how many came out alike and how many were refused.
async fn compare(
    root: &Path,
    program: &str,
    marks: &[&str],
    better: &[&str],
) -> Result<(usize, usize)> {
    let tree = read_tree(root)?;
    // The renderers themselves: Argo CD's own overrides in these directories are not the program's.
    let renderer: Box<dyn Renderer> = match program {
        "helm" => Box::new(HelmRenderer::new(options(program)?)),
        _ => Box::new(KustomizeRenderer::new(options(program)?)),
    };
    let dirs: BTreeSet<&str> = tree
        .iter()
        .map(|(path, _)| path.rsplit_once('/').unwrap_or(("", path)))
        .filter(|(_, name)| marks.contains(name))
        .map(|(dir, _)| dir)
        .collect();
    let (mut alike, mut refused) = (0, 0);
    for dir in dirs {
        let at = root.join(dir);
        let print = || match program {
            "helm" => printed(
                "helm",
                &at,
                &[
                    "template",
                    "app",
                    ".",
                    "--namespace",
                    "apps",
                    "--include-crds",
                ],
            ),
            _ => printed(program, &at, &["build", "."]),
        };
        let theirs = print();
        let request = RenderRequest {
            tree: tree.clone(),
            path: dir.to_owned(),
            source: Source::git("https://example.com/repo")
                .path(dir)
                .render(match program {
                    "helm" => Render::Helm(Box::default()),
                    _ => Render::Kustomize(Box::default()),
                }),
            app_name: "app".into(),
            namespace: "apps".into(),
            ..RenderRequest::default()
        };
        match (theirs, renderer.render(&request).await) {
            (Ok(theirs), Ok(ours)) => {
                let ours = values(ours);
                // A chart that rolls dice never comes out alike.
                let dice = ours != theirs && print()? != theirs;
                ensure!(
                    ours == theirs || (dice && identities(&ours) == identities(&theirs)),
                    "{dir}: not what {program} prints"
                );
                alike += 1;
            }
            (Err(theirs), Err(ours)) => {
                println!("{dir}:\n  {program}: {theirs}\n  ours: {ours}");
                refused += 1;
            }
            (Err(_), Ok(_)) if better.contains(&dir) => alike += 1,
            (Ok(theirs), Err(ours)) => {
                // Two objects with one identity are ours to refuse.
                ensure!(
                    identities(&theirs).len() < theirs.len() && ours.to_string().contains("twice"),
                    "{dir}: {program} renders it, we do not: {ours}"
                );
                refused += 1;
            }
            (Err(theirs), Ok(_)) => {
                anyhow::bail!("{dir}: we render it, {program} does not: {theirs}")
            }
        }
    }
    Ok((alike, refused))
}

fn identities(objects: &[Value]) -> BTreeSet<String> {
    objects
        .iter()
        .map(|object| {
            let metadata = &object["metadata"];
            format!(
                "{} {} {} {}",
                object["apiVersion"], object["kind"], metadata["namespace"], metadata["name"]
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn argo_cds_kustomizations_come_out_as_kustomize_prints_them() -> Result<()> {
    let (mut alike, mut refused) = (0, 0);
    for path in [
        "manifests",
        "test/e2e/testdata",
        "util/kustomize/testdata",
        "reposerver/repository/testdata",
    ] {
        let root = module(&format!("github.com/argoproj/argo-cd/v3//{path}"))?;
        let (same, not) = compare(&root, "kustomize", &KUSTOMIZATIONS, &[]).await?;
        alike += same;
        refused += not;
    }
    println!("{alike} alike, {refused} refused by both");
    ensure!(alike >= 40, "only {alike} kustomizations");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn helms_charts_come_out_as_helm_prints_them() -> Result<()> {
    let (mut alike, mut refused) = (0, 0);
    for (path, better) in [
        // Ours puts charts of the same repository where helm misses them.
        (
            "helm.sh/helm/v3//cmd/helm/testdata/testcharts",
            &["chart-with-template-lib-dep"][..],
        ),
        ("helm.sh/helm/v3//pkg/chartutil/testdata", &[]),
        ("github.com/argoproj/argo-cd/v3//util/helm/testdata", &[]),
        (
            "github.com/argoproj/argo-cd/v3//reposerver/repository/testdata",
            &["helm-with-local-dependency"],
        ),
        ("github.com/argoproj/argo-cd/v3//test/e2e/testdata", &[]),
    ] {
        let (same, not) = compare(&module(path)?, "helm", &["Chart.yaml"], better).await?;
        alike += same;
        refused += not;
    }
    println!("{alike} alike, {refused} refused by both");
    ensure!(alike >= 40, "only {alike} charts");
    Ok(())
}
