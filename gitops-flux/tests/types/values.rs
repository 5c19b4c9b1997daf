use gitops_flux::types::{
    Bucket, DeletionPolicy, GitRepository, HelmRelease, HelmRepository, HelmRepositoryType,
    Kustomization, ProviderType, ReceiverType,
};
use serde_json::{Value, json};

fn round_trip<K: gitops_flux::FluxResource>(spec: Value) -> Value {
    let document = json!({"apiVersion": K::KIND.api_version(), "kind": K::KIND.kind(), "metadata": {}, "spec": spec});
    let read: K = serde_json::from_value(document).unwrap();
    serde_json::to_value(read).unwrap()["spec"].take()
}

#[test]
fn words_of_a_newer_server_are_kept() {
    let spec = json!({"deletionPolicy": "Later", "prune": true, "sourceRef": {"kind": "Newer", "name": "a", "newer": 1}});
    assert_eq!(round_trip::<Kustomization>(spec.clone()), spec);
    let spec = json!({"url": "", "provider": "forge", "verify": {"mode": "All", "secretRef": {"name": ""}}});
    assert_eq!(round_trip::<GitRepository>(spec.clone()), spec);
    let spec = json!({"bucketName": "b", "endpoint": "e", "provider": "", "sts": {"provider": "new", "endpoint": "e"}});
    assert_eq!(round_trip::<Bucket>(spec.clone()), spec);
    let spec = json!({"install": {"crds": "Merge", "strategy": {"name": "Later"}}, "driftDetection": {"mode": "loud"},
        "uninstall": {"deletionPropagation": "x"}, "upgrade": {"remediation": {"strategy": "pray"}}});
    assert_eq!(round_trip::<HelmRelease>(spec.clone()), spec);
    assert_eq!(
        DeletionPolicy::from("Later"),
        DeletionPolicy::Other("Later".into())
    );
}

#[test]
fn every_word_is_read_as_it_is_written() {
    for word in ProviderType::ALL {
        assert_eq!(&ProviderType::from(word.as_str()), word);
    }
    for word in ReceiverType::ALL {
        assert_eq!(&ReceiverType::from(word.as_str()), word);
    }
    assert_eq!((ProviderType::ALL.len(), ReceiverType::ALL.len()), (29, 12));
}

#[test]
fn null_is_what_is_not_there_and_empty_is_empty() {
    let spec = json!({"prune": false, "patches": [], "images": null, "commonMetadata": {}, "path": "", "sourceRef": {"kind": "", "name": ""}});
    assert_eq!(
        round_trip::<Kustomization>(spec),
        json!({"prune": false, "patches": [], "commonMetadata": {}, "path": "", "sourceRef": {"kind": "", "name": ""}})
    );
    let read: Kustomization =
        serde_json::from_value(json!({"metadata": null, "spec": null, "status": null})).unwrap();
    assert_eq!(read, Kustomization::default());
}

#[test]
fn a_registry_is_told_by_its_url() {
    let repository = HelmRepository::new("a").url("oci://example.org/charts");
    assert_eq!(repository.spec.kind, Some(HelmRepositoryType::Oci));
    assert!(repository.is_oci());
    assert!(!HelmRepository::new("a").url("https://example.org").is_oci());
}
