//! The judges themselves.

use serde_json::json;

#[test]
fn yaml_judge_reads_as_the_go_library_does() -> anyhow::Result<()> {
    let verdicts = e2e::peers::yaml_read(&[&b"mode: 0644\non: yes"[..], b"a: 1\na: 2", b"\xff"])?;
    assert_eq!(verdicts.len(), 3);
    assert_eq!(verdicts[0].json, Some(json!({"mode": 420, "true": true})));
    assert_eq!(verdicts[1].json, Some(json!({"a": 2})));
    assert!(verdicts[1].strict_error.is_some());
    assert!(verdicts[2].error.is_some());
    Ok(())
}

#[test]
fn yaml_judge_reads_files_as_kubectl_does() -> anyhow::Result<()> {
    let verdicts =
        e2e::peers::yaml_multi(&["a: 1\n---\n# nothing\n---\nnull\n---\nb: 2\n", "a: [1"])?;
    assert_eq!(verdicts[0].documents, [json!({"a": 1}), json!({"b": 2})]);
    assert!(verdicts[0].error.is_none());
    assert!(verdicts[1].error.is_some());
    Ok(())
}

#[test]
fn health_judge_reads_the_fixtures() -> anyhow::Result<()> {
    let folder = e2e::module_dir("github.com/argoproj/gitops-engine")?.join("pkg/health/testdata");
    let verdicts = e2e::peers::health(&[folder.join("pod-crashloop.yaml")])?;
    assert_eq!(verdicts[0].status, "Degraded");
    Ok(())
}
