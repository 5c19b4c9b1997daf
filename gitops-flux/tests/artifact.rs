//! Artifacts from a server that does what real ones do not.
#![allow(clippy::unwrap_used)]
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use gitops_core::ErrorKind;
use gitops_core::manifest::TreeEntry;
use gitops_flux::artifact::{ArtifactOptions, ArtifactReader};
use gitops_flux::types::Artifact;
use sha2::{Digest as _, Sha256, Sha512};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

const REVISION: &str = "main@sha1:0123456789012345678901234567890123456789";
const PATH: &str = "/gitrepository/flux-system/app/0123.tar.gz";

fn archive() -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(2);
    builder
        .append_data(&mut header, "deploy/a.yaml", &b"hi"[..])
        .unwrap();
    builder.into_inner().unwrap().finish().unwrap()
}

fn artifact(server: &MockServer, digest: &str) -> Artifact {
    Artifact {
        url: format!("{}{PATH}", server.uri()),
        revision: REVISION.into(),
        digest: Some(digest.into()),
        ..Artifact::default()
    }
}

fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn reader() -> ArtifactReader {
    ArtifactReader::new(ArtifactOptions {
        retry_wait: Duration::from_millis(1),
        retries: 3,
        deadline: Duration::from_secs(5),
        ..ArtifactOptions::default()
    })
    .unwrap()
}

async fn serves(server: &MockServer, answer: ResponseTemplate) {
    Mock::given(method("GET"))
        .and(path(PATH))
        .respond_with(answer)
        .mount(server)
        .await;
}

#[tokio::test]
async fn files_come_out_whatever_the_algorithm() {
    let server = MockServer::start().await;
    let bytes = archive();
    serves(
        &server,
        ResponseTemplate::new(200).set_body_bytes(bytes.clone()),
    )
    .await;
    for digest in [
        sha256(&bytes),
        hex::encode(Sha256::digest(&bytes)),
        format!("sha512:{}", hex::encode(Sha512::digest(&bytes))),
        format!("blake3:{}", blake3::hash(&bytes).to_hex()),
    ] {
        let unpacked = reader().fetch(&artifact(&server, &digest)).await.unwrap();
        let file = unpacked.tree.get("deploy/a.yaml");
        assert_eq!(file, Some(&TreeEntry::File(b"hi".as_slice().into())));
        assert_eq!(unpacked.tree.revision, REVISION);
    }
}

/// A download is written in parts.
#[tokio::test]
async fn a_file_of_several_parts_comes_out_whole() {
    let text: Vec<u8> = (0_u32..1_000_000).flat_map(u32::to_be_bytes).collect();
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::none()));
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(text.len() as u64);
    builder
        .append_data(&mut header, "large", text.as_slice())
        .unwrap();
    let bytes = builder.into_inner().unwrap().finish().unwrap();
    let server = MockServer::start().await;
    serves(
        &server,
        ResponseTemplate::new(200).set_body_bytes(bytes.clone()),
    )
    .await;
    let artifact = artifact(&server, &sha256(&bytes));
    let tree = reader().tree(&artifact).await.unwrap();
    assert!(tree.get("large") == Some(&TreeEntry::File(text.into())));
}

#[tokio::test]
async fn a_base_url_leads_there_instead() {
    let server = MockServer::start().await;
    let bytes = archive();
    Mock::given(path(format!("/proxy/source{PATH}")))
        .respond_with(ResponseTemplate::new(200).set_body_bytes(bytes.clone()))
        .mount(&server)
        .await;
    let reader = ArtifactReader::new(ArtifactOptions {
        base_url: Some(format!("{}/proxy/source/", server.uri()).parse().unwrap()),
        ..ArtifactOptions::default()
    })
    .unwrap();
    let artifact = Artifact {
        url: format!("http://source-controller.flux-system.svc.cluster.local.{PATH}"),
        digest: Some(sha256(&bytes)),
        ..Artifact::default()
    };
    assert_eq!(reader.tree(&artifact).await.unwrap().len(), 1);
    for bad in ["file:///etc", "mailto:a@b"] {
        let options = ArtifactOptions {
            base_url: Some(bad.parse().unwrap()),
            ..ArtifactOptions::default()
        };
        assert_eq!(
            ArtifactReader::new(options).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    }
}

#[tokio::test]
async fn another_digest_is_not_unpacked() {
    let server = MockServer::start().await;
    serves(
        &server,
        ResponseTemplate::new(200).set_body_bytes(archive()),
    )
    .await;
    let digest = |digest: &str| artifact(&server, digest);
    let none = Artifact {
        digest: None,
        ..digest("")
    };
    for (artifact, kind) in [
        (digest(&sha256(b"other")), ErrorKind::Integrity),
        (digest(""), ErrorKind::Integrity),
        (none, ErrorKind::Integrity),
        (digest("sha256:short"), ErrorKind::Integrity),
        (
            digest(&format!("sha1:{}", "a".repeat(40))),
            ErrorKind::Unsupported,
        ),
    ] {
        let error = reader().fetch(&artifact).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(REVISION), "{error}");
    }
    assert_eq!(
        server.received_requests().await.unwrap().len(),
        1,
        "no digest, no download"
    );
}

#[tokio::test]
async fn what_passes_is_tried_again_and_what_does_not_is_not() {
    for (status, kind, tries) in [
        (500, ErrorKind::Unavailable, 4),
        (503, ErrorKind::Unavailable, 4),
        (429, ErrorKind::RateLimited, 4),
        (404, ErrorKind::NotFound, 1),
        (403, ErrorKind::PermissionDenied, 1),
        (400, ErrorKind::Failed, 1),
        (204, ErrorKind::Failed, 1),
    ] {
        let server = MockServer::start().await;
        serves(&server, ResponseTemplate::new(status)).await;
        let error = reader()
            .fetch(&artifact(&server, &sha256(b"")))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{status}");
        assert_eq!(
            server.received_requests().await.unwrap().len(),
            tries,
            "{status}"
        );
    }
    let server = MockServer::start().await;
    let bytes = archive();
    Mock::given(path(PATH))
        .respond_with(ResponseTemplate::new(502))
        .up_to_n_times(2)
        .mount(&server)
        .await;
    serves(
        &server,
        ResponseTemplate::new(200).set_body_bytes(bytes.clone()),
    )
    .await;
    reader()
        .fetch(&artifact(&server, &sha256(&bytes)))
        .await
        .unwrap();
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let server = MockServer::start().await;
    let other = MockServer::start().await;
    let to = format!("{}/elsewhere", other.uri());
    serves(
        &server,
        ResponseTemplate::new(302).insert_header("location", to),
    )
    .await;
    let error = reader()
        .fetch(&artifact(&server, &sha256(b"")))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed);
    assert!(other.received_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn size_and_time_are_bounded() {
    let server = MockServer::start().await;
    let bytes = vec![0; 1 << 20];
    serves(
        &server,
        ResponseTemplate::new(200).set_body_bytes(bytes.clone()),
    )
    .await;
    let small = ArtifactReader::new(ArtifactOptions {
        max_download: 1000,
        ..ArtifactOptions::default()
    })
    .unwrap();
    let error = small
        .fetch(&artifact(&server, &sha256(&bytes)))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Integrity);
    assert!(
        error.to_string().contains("more than 1000 bytes"),
        "{error}"
    );

    let server = MockServer::start().await;
    let slow = ResponseTemplate::new(200).set_delay(Duration::from_secs(30));
    serves(&server, slow).await;
    let hasty = ArtifactReader::new(ArtifactOptions {
        deadline: Duration::from_millis(200),
        ..ArtifactOptions::default()
    })
    .unwrap();
    let begun = Instant::now();
    let error = hasty
        .fetch(&artifact(&server, &sha256(b"")))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_body_without_an_end_stops_at_the_limit() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let chunk = [b"10000\r\n".as_slice(), &[b'x'; 0x10000], b"\r\n"].concat();
        let mut sent = 0_usize;
        while stream.write_all(&chunk).await.is_ok() {
            sent += chunk.len();
        }
        sent
    });
    let small = ArtifactReader::new(ArtifactOptions {
        max_download: 1 << 20,
        ..ArtifactOptions::default()
    })
    .unwrap();
    let artifact = Artifact {
        url,
        digest: Some(sha256(b"")),
        ..Artifact::default()
    };
    let error = small.fetch(&artifact).await.unwrap_err();
    assert!(error.to_string().contains("more than"), "{error}");
    assert!(server.await.unwrap() < 32 << 20);
}

#[tokio::test]
async fn a_cut_connection_and_a_dead_server_are_unavailable() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/x?token=canary", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        for _ in 0..4 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
                .await;
        }
    });
    let artifact = Artifact {
        url,
        digest: Some(sha256(b"")),
        ..Artifact::default()
    };
    for _ in 0..2 {
        let error = reader().fetch(&artifact).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:#}");
        assert!(!format!("{error:#} {error:?}").contains("canary"));
    }
    server.await.unwrap();
    let none = Artifact {
        url: "ftp://u:canary@h/x".into(),
        ..artifact
    };
    let error = reader().fetch(&none).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(!error.to_string().contains("canary"));
}
