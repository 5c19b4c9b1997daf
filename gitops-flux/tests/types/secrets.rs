use gitops_flux::types::{
    GitRepository, HelmRelease, HelmRepository, ImageUpdateAutomation, Kustomization, Provider,
    upgrade,
};
use serde_json::json;

const CANARY: &str = "hunter2-canary";

#[test]
fn debug_prints_no_secret() {
    let url = format!("https://user:{CANARY}@example.org/repo");
    let kubectl = "kubectl.kubernetes.io/last-applied-configuration";
    let repo = GitRepository::new("a")
        .url(&*url)
        .annotation(kubectl, CANARY);
    let helm = HelmRepository::new("a").url(&*url);
    let app = Kustomization::new("a").substitute("PASSWORD", CANARY);
    let release = HelmRelease::new("a").values(json!({"password": CANARY}));
    let mut provider = Provider::new("a");
    provider.spec.address = Some(format!("https://hooks.example.org/{CANARY}"));
    provider.spec.proxy = Some(url.clone());
    provider.extra.insert("newer".into(), CANARY.into());
    let renderers = json!({"spec": {
        "postRenderers": [{"kustomize": {"patches": [{"patch": CANARY}]}}], "newer": CANARY,
    }});
    let rendered: HelmRelease = serde_json::from_value(renderers).unwrap();
    let push = json!({"spec": {"git": {"push": {"options": {"token": CANARY}}}}});
    let automation: ImageUpdateAutomation = serde_json::from_value(push).unwrap();
    let all = format!("{repo:?}{helm:?}{app:?}{release:?}{provider:?}{rendered:?}{automation:?}");
    assert!(!all.contains(CANARY), "{all}");
    // The rest is there, or it would be easy.
    for word in [
        "example.org/repo",
        "PASSWORD",
        kubectl,
        "newer",
        "post_renderers",
    ] {
        assert!(all.contains(word), "{word} in {all}");
    }
}

#[test]
fn errors_print_no_secret() {
    let document = json!({
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1beta2", "kind": "Kustomization", "metadata": {"name": "a"},
        "spec": {"postBuild": {"substitute": CANARY}},
    });
    let error = upgrade::read::<Kustomization>(document).unwrap_err();
    let all = format!("{error} {error:?}");
    assert!(!all.contains(CANARY), "{all}");
    assert!(all.contains("invalid type"), "{all}");
    // Even with what could be taken for the end of the value.
    let document = json!({
        "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "metadata": {"name": "a"},
        "spec": {"postBuild": {"substitute": format!("x, expected {CANARY}")}},
    });
    let error = upgrade::read::<Kustomization>(document).unwrap_err();
    assert!(!format!("{error} {error:?}").contains(CANARY), "{error}");
}
