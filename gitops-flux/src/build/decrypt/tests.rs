use gitops_core::ErrorKind;
use serde_json::json;

use super::*;

/// Tells in which forms it was asked.
struct Teller;

#[async_trait]
impl Decryptor for Teller {
    async fn decrypt(&self, data: &[u8], input: SopsFormat, output: SopsFormat) -> Result<Vec<u8>> {
        if input == SopsFormat::Json && output == SopsFormat::Json && data.starts_with(b"{\"api") {
            return Ok(br#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"db"}}"#.to_vec());
        }
        Ok(format!("{input:?}>{output:?}").into_bytes())
    }
}

fn tree(files: &[(&str, &str)]) -> Tree {
    let mut tree = Tree::new("abc", "", "");
    for (path, text) in files {
        tree.insert(*path, TreeEntry::File(text.as_bytes().into()))
            .unwrap();
    }
    tree
}

const FILES: [(&str, &str); 9] = [
    (
        "app/kustomization.yaml",
        "resources: [../base, x.yaml]\ncomponents: [../part]\nsecretGenerator:\n- name: a\n  files: [config.json=secret, plain.txt]\n  envs: [e]\n\
         patches: [{path: p.yaml}, {path: 'https://h/p.yaml'}]",
    ),
    ("app/secret", "{\"mac\": \"ENC[x\"}"),
    ("app/plain.txt", "mac: nothing"),
    ("app/e", "sops_mac=ENC[x"),
    ("app/p.yaml", "mac: ENC[x"),
    (
        "base/kustomization.yaml",
        "secretGenerator: [{name: b, files: [b.ini, ../../out]}]\nresources: [../app]",
    ),
    ("base/b.ini", "[sops]"),
    ("part/kustomization.yaml", "patches: [{path: p.json}]"),
    ("part/p.json", "\"mac\": \"ENC[x\""),
];

#[tokio::test]
async fn what_kustomize_reads_is_decrypted() {
    let mut tree = tree(&FILES);
    sources(&mut tree, "app", Some(&Teller)).await.unwrap();
    for (path, wanted) in [
        ("app/secret", "Json>Json"),
        ("app/plain.txt", "mac: nothing"),
        ("app/e", "Dotenv>Dotenv"),
        ("app/p.yaml", "Yaml>Yaml"),
        ("base/b.ini", "Ini>Ini"),
        ("part/p.json", "Json>Json"),
    ] {
        let bytes = tree.file(path).unwrap().unwrap();
        assert_eq!(String::from_utf8_lossy(bytes), wanted, "{path}");
    }
}

#[tokio::test]
async fn without_anybody_the_file_is_named() {
    let mut tree = tree(&FILES);
    let error = sources(&mut tree, "app", None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("app/secret"), "{error}");
    let big = format!("mac: ENC[{}", "x".repeat(MAX_FILE));
    let mut tree = self::tree(&[
        ("kustomization.yaml", "patches: [{path: p.yaml}]"),
        ("p.yaml", &big),
    ]);
    let error = sources(&mut tree, "", Some(&Teller)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

/// Whether anything was.
async fn decrypted(value: &mut Value, who: Who<'_>) -> Result<bool> {
    match encrypted(value) {
        Some(encrypted) => object(value, encrypted, who).await.map(|()| true),
        None => Ok(false),
    }
}

#[tokio::test]
async fn objects_are_decrypted_as_a_whole_or_by_key() {
    let mut whole = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "sops": {"mac": "ENC[x"}});
    assert!(is_encrypted_secret(whole.as_object().unwrap()));
    let error = decrypted(&mut whole, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("Secret db"), "{error}");
    assert!(decrypted(&mut whole, Some(&Teller)).await.unwrap());
    assert!(!is_encrypted_secret(whole.as_object().unwrap()));

    let pack = |text: &str| STANDARD.encode(text);
    let mut keys = json!({"kind": "Secret", "data": {
        "a.yaml": pack("mac: ENC[x"),
        "b": pack("\"mac\": \"ENC[x"),
        "c.env": pack("sops_mac=ENC[x"),
        ".dockerconfigjson": pack("\"mac\": \"ENC[x"),
        "plain": pack("text"),
        "broken": "%",
    }});
    assert!(decrypted(&mut keys, Some(&Teller)).await.unwrap());
    assert_eq!(
        keys["data"],
        json!({
            "a.yaml": pack("Yaml>Yaml"),
            "b": pack("Binary>Binary"),
            "c.env": pack("Dotenv>Dotenv"),
            ".dockerconfigjson": pack("Json>Json"),
            "plain": pack("text"),
            "broken": "%",
        })
    );
    let mut map = json!({"kind": "ConfigMap", "data": {"a": pack("mac: ENC[x")}});
    assert!(!decrypted(&mut map, None).await.unwrap());
    for plain in [json!({}), json!({"kind": "Secret", "data": "text"})] {
        assert!(encrypted(&plain).is_none(), "{plain}");
    }
}

#[test]
fn the_file_of_an_object_is_found() {
    let tree = tree(&[
        ("a.yaml", "name: db"),
        ("b.yaml", "name: db\nx: ENC[\nsops: {}"),
    ]);
    assert_eq!(file_of(&tree, "db"), Some("b.yaml"));
    assert_eq!(file_of(&tree, "other"), None);
}
