//! Artifacts in a registry, laid out as `flux push artifact` does.

use std::io::Write as _;

use anyhow::{Context, Result, bail};
use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{Client, Response};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::registry::Registry;

/// The media type of a manifest.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of Flux's configuration, which is empty.
const CONFIG: &str = "application/vnd.cncf.flux.config.v1+json";
/// The media type of the files.
const CONTENT: &str = "application/vnd.cncf.flux.content.v1.tar+gzip";

/// Pushes files as an artifact that an OCIRepository reads; `revision` is what `flux push artifact --revision` takes, for example
/// `main@sha1:…`. Returns the manifest's digest, `sha256:…`. The artifact is at `oci://HOST/NAME`, with `tag`.
///
/// # Errors
///
/// When the registry refuses.
pub async fn push_artifact(
    registry: &Registry,
    name: &str,
    tag: &str,
    revision: &str,
    files: &[(&str, &str)],
) -> Result<String> {
    crate::init();
    let client = Client::builder()
        .no_proxy()
        .build()
        .context("cannot make an HTTP client")?;
    let base = format!("http://{}/v2/{name}", registry.host);
    let layer = archive(files)?;
    let config = b"{}".to_vec();
    let described = |media_type: &str, bytes: &[u8]| json!({"mediaType": media_type, "size": bytes.len(), "digest": digest(bytes)});
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": described(CONFIG, &config),
        "layers": [described(CONTENT, &layer)],
        "annotations": {
            "org.opencontainers.image.created": "2024-01-01T00:00:00Z",
            "org.opencontainers.image.source": "https://git.example.com/fleet",
            "org.opencontainers.image.revision": revision,
        },
    });
    let manifest = serde_json::to_vec(&manifest).context("cannot write the manifest")?;
    for blob in [config, layer] {
        upload(&client, &base, blob).await?;
    }
    let found = digest(&manifest);
    let request = client
        .put(format!("{base}/manifests/{tag}"))
        .header(CONTENT_TYPE, MANIFEST)
        .body(manifest);
    good(request.send().await.context("cannot push a manifest")?).await?;
    Ok(found)
}

async fn upload(client: &Client, base: &str, blob: Vec<u8>) -> Result<()> {
    let begun = client.post(format!("{base}/blobs/uploads/")).send().await;
    let begun = good(begun.context("cannot begin an upload")?).await?;
    let place = begun.headers().get(LOCATION);
    let place = place.context("the registry named no place")?.to_str()?;
    let mut place = begun
        .url()
        .join(place)
        .context("the registry named no place")?;
    place
        .query_pairs_mut()
        .append_pair("digest", &digest(&blob));
    let request = client
        .put(place)
        .header(CONTENT_TYPE, "application/octet-stream")
        .body(blob);
    good(request.send().await.context("cannot upload")?)
        .await
        .map(drop)
}

async fn good(response: Response) -> Result<Response> {
    let (status, url) = (response.status(), response.url().clone());
    if !status.is_success() {
        let text = response.text().await.unwrap_or_default();
        bail!("{url}: {status}: {text}");
    }
    Ok(response)
}

fn archive(files: &[(&str, &str)]) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(content.len()).context("too large a file")?);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, path, content.as_bytes())
            .with_context(|| format!("cannot lay {path} into the artifact"))?;
    }
    let tar = builder.into_inner().context("cannot lay the artifact")?;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).context("cannot compress")?;
    gzip.finish().context("cannot compress")
}

fn digest(bytes: &[u8]) -> String {
    let digest: String = Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    format!("sha256:{digest}")
}
