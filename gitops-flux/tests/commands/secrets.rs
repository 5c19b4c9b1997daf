use gitops_core::ErrorKind;
use gitops_core::manifest::Object;
use gitops_flux::secret::{FluxSecret, SshKey, SshKeyAlgorithm};
use gitops_kube::cluster::{Cluster, InMemoryCluster, ObjectKey};
use serde_json::json;

use super::{namespace, put};

async fn read(cluster: &InMemoryCluster, name: &str) -> Object {
    let kind = cluster
        .resolve(&gitops_core::manifest::GroupVersionKind::new(
            "", "v1", "Secret",
        ))
        .await
        .unwrap();
    let key = ObjectKey {
        kind: &kind,
        namespace: "f",
        name,
    };
    cluster.get(key).await.unwrap().unwrap()
}

#[tokio::test]
async fn secrets_are_made_and_made_anew() {
    let cluster = InMemoryCluster::new();
    namespace(&cluster, "f").await;
    let secret = FluxSecret::git_basic("f", "login", "u", "one")
        .unwrap()
        .label("team", "a");
    assert!(secret.apply(&cluster).await.unwrap());
    let secret = FluxSecret::git_basic("f", "login", "u", "two").unwrap();
    assert!(!secret.apply(&cluster).await.unwrap());
    let found = read(&cluster, "login").await;
    assert_eq!(found.value()["data"]["password"], "dHdv");
    // A key that is no longer said goes; one of somebody else's stays.
    put(&cluster, json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "f", "name": "login"}, "data": {"theirs": "eA=="}})).await;
    let secret = FluxSecret::git_bearer("f", "login", "t").unwrap();
    assert!(!secret.apply(&cluster).await.unwrap());
    let found = read(&cluster, "login").await;
    let keys: Vec<_> = found.value()["data"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["bearerToken", "theirs"]);
    let other = FluxSecret::oci("f", "login", "ghcr.io", "u", "canary").unwrap();
    let error = other.apply(&cluster).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(
        error.to_string().contains("type cannot be changed")
            && !format!("{error:#}").contains("canary")
    );
}

#[test]
fn keys_for_ssh_are_openssh_s() {
    for algorithm in [
        SshKeyAlgorithm::Ed25519,
        SshKeyAlgorithm::EcdsaP256,
        SshKeyAlgorithm::EcdsaP384,
    ] {
        let key = SshKey::generate(algorithm).unwrap();
        let again = SshKey::from_openssh(key.private().clone()).unwrap();
        assert_eq!(again.public(), key.public());
        // ssh-keygen takes it, and reads the same public half.
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("identity");
        std::fs::write(&file, key.private().expose()).unwrap();
        let mut permissions = std::fs::metadata(&file).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
        std::fs::set_permissions(&file, permissions).unwrap();
        let output = std::process::Command::new("ssh-keygen")
            .arg("-y")
            .arg("-f")
            .arg(&file)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let public = String::from_utf8(output.stdout).unwrap();
        assert_eq!(public.trim(), key.public().trim());
        let shown = format!("{key:?}");
        assert!(!shown.contains("PRIVATE"), "{shown}");
        let hosts = "git.example.com ssh-ed25519 AAAA\n";
        let secret = FluxSecret::git_ssh("f", "s", &key.clone().with_password("p"), hosts).unwrap();
        let keys: Vec<&str> = secret.keys().collect();
        assert_eq!(
            keys,
            ["identity", "identity.pub", "known_hosts", "password"]
        );
        assert!(FluxSecret::git_ssh("f", "s", &key, "# none\n").is_err());
    }
    let error = SshKey::from_openssh("canary").unwrap_err();
    assert!(!format!("{error:#}").contains("canary"));
}
