//! Certificates that no machine trusts.

use std::path::Path;

use anyhow::Result;

use crate::components::system_program;
use crate::process::run;

/// Makes a certificate authority (`ca.pem`), and a certificate for 127.0.0.1 that it signs (`cert.pem`, `key.pem`), in a folder.
///
/// # Errors
///
/// When openssl is missing or fails.
pub async fn make(dir: &Path) -> Result<()> {
    let openssl = system_program("openssl")?;
    let new = [
        "req",
        "-x509",
        "-noenc",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-days",
        "2",
    ];
    let authority = [
        "-subj",
        "/CN=e2e authority",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
    ];
    let server = [
        "-subj",
        "/CN=127.0.0.1",
        "-keyout",
        "key.pem",
        "-out",
        "cert.pem",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
    ];
    let extensions = [
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
    ];
    let command = || {
        let mut command = tokio::process::Command::new(&openssl);
        command.current_dir(dir).args(new);
        command
    };
    run(command().args(authority)).await?;
    run(command().args(server).args(extensions)).await?;
    Ok(())
}
