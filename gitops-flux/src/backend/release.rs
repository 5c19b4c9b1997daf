//! The manifest of a helm release, as helm keeps it: a Secret of type `helm.sh/release.v1` with gzipped JSON (helm 3, `storage/driver`).

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitops_core::manifest::{GroupKind, Object, yaml};
use gitops_core::{Error, Result};
use gitops_kube::cluster::{Cluster as _, ObjectKey};
use serde::Deserialize;

use super::FluxBackend;
use crate::types::HelmRelease;

/// The most bytes of a release, unpacked. A Secret holds 1 MiB; text does not pack better than 1 to 60 or so.
const LIMIT: u64 = 64 << 20;

#[derive(Deserialize)]
struct Release {
    #[serde(default)]
    manifest: String,
}

/// Unpacks what the Secret's key `release` holds, once Kubernetes' own base64 is taken off.
fn unpack(data: &[u8]) -> Result<String> {
    let broken = || Error::integrity("the release's Secret cannot be read");
    let packed = STANDARD.decode(data).map_err(|_| broken())?;
    let mut text = Vec::new();
    if packed.starts_with(&[0x1f, 0x8b]) {
        let read = flate2::read::GzDecoder::new(&*packed)
            .take(LIMIT + 1)
            .read_to_end(&mut text);
        read.map_err(|_| broken())?;
    } else {
        text = packed;
    }
    if text.len() as u64 > LIMIT {
        return Err(Error::integrity(format!(
            "the release is larger than {LIMIT} bytes"
        )));
    }
    // What serde says may quote a value.
    let release: Release = serde_json::from_slice(&text).map_err(|_| broken())?;
    Ok(release.manifest)
}

/// The objects of the newest release, without hooks; none before the first.
pub(super) async fn manifest(backend: &FluxBackend, object: &HelmRelease) -> Result<Vec<Object>> {
    let Some(latest) = object.latest() else {
        return Ok(Vec::new());
    };
    let status = object.status.as_ref();
    let storage = status.and_then(|status| status.storage_namespace.as_deref());
    let own = object.metadata.namespace.as_deref().unwrap_or_default();
    let cluster = backend.manager.cluster();
    let kind = cluster.resolve_any(&GroupKind::new("", "Secret")).await?;
    let name = format!("sh.helm.release.v1.{}.v{}", latest.name, latest.version);
    let key = ObjectKey {
        kind: &kind,
        namespace: storage.filter(|text| !text.is_empty()).unwrap_or(own),
        name: &name,
    };
    let secret = cluster.get(key).await?;
    let secret = secret
        .ok_or_else(|| Error::not_found(format!("the release's Secret {name} is not there")))?;
    let data = secret
        .pointer("/data/release")
        .and_then(|data| data.as_str())
        .unwrap_or_default();
    let data = STANDARD
        .decode(data)
        .map_err(|_| Error::integrity("the release's Secret cannot be read"))?;
    let text = unpack(&data)?;
    let mut objects = yaml::parse(&name, text.as_bytes())?;
    for object in &mut objects {
        if !object.namespace().is_empty() {
            continue;
        }
        // Helm leaves the namespace to the API server.
        match cluster.resolve(&object.gvk()).await {
            Ok(kind) if kind.is_namespaced() => object.set_namespace(&latest.namespace),
            Ok(_) => {}
            Err(error) if error.kind() == gitops_core::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn pack(text: &[u8]) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(text).unwrap();
        STANDARD.encode(packed.finish().unwrap()).into_bytes()
    }

    #[test]
    fn a_release_is_unpacked() {
        let packed = pack(br#"{"name":"x","manifest":"kind: ConfigMap\n"}"#);
        assert_eq!(unpack(&packed).unwrap(), "kind: ConfigMap\n");
        let plain = STANDARD.encode(r#"{"manifest":"a"}"#);
        assert_eq!(unpack(plain.as_bytes()).unwrap(), "a");
    }

    #[test]
    fn a_release_that_is_none_says_nothing_of_what_it_holds() {
        for data in [
            &b"canary"[..],
            &pack(b"{\"manifest\": \"canary"),
            &pack(br#"{"manifest":["canary"]}"#),
        ] {
            let error = unpack(data).unwrap_err();
            assert!(
                !format!("{error:#} {error:?}").contains("canary"),
                "{error:?}"
            );
        }
    }

    #[test]
    fn a_release_that_unpacks_without_end_stops() {
        let zeros = vec![b' '; usize::try_from(LIMIT).unwrap() + 2];
        let error = unpack(&pack(&zeros)).unwrap_err();
        assert!(error.to_string().contains("larger"), "{error}");
    }
}
