//! What the words of `git` (in the C locale) and `ssh` mean.

use gitops_core::{Error, ErrorKind};

/// Pairs of a text to look for (lower case) and its kind; the first that occurs decides.
const SIGNS: &[(&str, ErrorKind)] = &[
    // ssh
    ("host key verification failed", ErrorKind::Integrity),
    (
        "remote host identification has changed",
        ErrorKind::Integrity,
    ),
    ("no matching host key", ErrorKind::Integrity),
    ("permission denied (publickey", ErrorKind::Unauthenticated),
    (
        "too many authentication failures",
        ErrorKind::Unauthenticated,
    ),
    ("error in libcrypto", ErrorKind::InvalidInput),
    ("invalid format", ErrorKind::InvalidInput),
    // push
    ("pre-receive hook declined", ErrorKind::PermissionDenied),
    ("protected branch", ErrorKind::PermissionDenied),
    ("hook declined", ErrorKind::PermissionDenied),
    ("(non-fast-forward)", ErrorKind::Conflict),
    ("(fetch first)", ErrorKind::Conflict),
    ("(stale info)", ErrorKind::Conflict),
    ("cannot lock ref", ErrorKind::Conflict),
    ("failed to update ref", ErrorKind::Conflict),
    ("failed to lock", ErrorKind::Conflict),
    ("reference already exists", ErrorKind::Conflict),
    ("incorrect old value provided", ErrorKind::Conflict),
    (
        "branch is currently checked out",
        ErrorKind::PermissionDenied,
    ),
    ("shallow update not allowed", ErrorKind::Unsupported),
    ("remote rejected", ErrorKind::PermissionDenied),
    // HTTP
    ("could not read username", ErrorKind::Unauthenticated),
    ("could not read password", ErrorKind::Unauthenticated),
    ("authentication failed", ErrorKind::Unauthenticated),
    ("invalid credentials", ErrorKind::Unauthenticated),
    ("returned error: 401", ErrorKind::Unauthenticated),
    ("returned error: 403", ErrorKind::PermissionDenied),
    ("returned error: 404", ErrorKind::NotFound),
    ("returned error: 429", ErrorKind::RateLimited),
    ("returned error: 408", ErrorKind::Timeout),
    ("returned error: 30", ErrorKind::InvalidInput),
    ("returned error: 50", ErrorKind::Unavailable),
    ("certificate problem", ErrorKind::Integrity),
    (
        "server certificate verification failed",
        ErrorKind::Integrity,
    ),
    ("ssl certificate", ErrorKind::Integrity),
    (
        "no alternative certificate subject name",
        ErrorKind::Integrity,
    ),
    ("error setting certificate", ErrorKind::InvalidInput),
    // what is there
    ("couldn't find remote ref", ErrorKind::NotFound),
    ("not our ref", ErrorKind::NotFound),
    ("unadvertised object", ErrorKind::NotFound),
    ("repository not found", ErrorKind::NotFound),
    (
        "does not appear to be a git repository",
        ErrorKind::NotFound,
    ),
    ("does not exist", ErrorKind::NotFound),
    ("cannot find repository", ErrorKind::NotFound),
    ("no such file or directory", ErrorKind::NotFound),
    ("not found", ErrorKind::NotFound),
    ("dubious ownership", ErrorKind::PermissionDenied),
    ("access denied", ErrorKind::PermissionDenied),
    ("not authorized", ErrorKind::PermissionDenied),
    ("transport '", ErrorKind::InvalidInput),
    ("is not a git command", ErrorKind::Unsupported),
    // the network
    ("could not resolve", ErrorKind::Unavailable),
    ("connection refused", ErrorKind::Unavailable),
    ("failed to connect", ErrorKind::Unavailable),
    ("couldn't connect", ErrorKind::Unavailable),
    ("connection reset", ErrorKind::Unavailable),
    ("connection closed", ErrorKind::Unavailable),
    ("connection timed out", ErrorKind::Unavailable),
    ("operation timed out", ErrorKind::Unavailable),
    ("network is unreachable", ErrorKind::Unavailable),
    ("no route to host", ErrorKind::Unavailable),
    ("empty reply from server", ErrorKind::Unavailable),
    ("early eof", ErrorKind::Unavailable),
    ("rpc failed", ErrorKind::Unavailable),
    ("hung up unexpectedly", ErrorKind::Unavailable),
    ("unexpected disconnect", ErrorKind::Unavailable),
    // data
    ("bad object", ErrorKind::Integrity),
    ("fsck error", ErrorKind::Integrity),
    ("index-pack failed", ErrorKind::Integrity),
    ("invalid index-pack output", ErrorKind::Integrity),
    ("unpack-objects failed", ErrorKind::Integrity),
    ("protocol error", ErrorKind::Integrity),
    ("bad line length", ErrorKind::Integrity),
    ("no space left on device", ErrorKind::Unavailable),
    ("unable to write", ErrorKind::Unavailable),
];

/// The error for a failed `git` that said `stderr` (and, for a push, `stdout`).
pub(crate) fn error(what: &str, stderr: &str, stdout: &str) -> Error {
    let all = format!("{stdout}\n{stderr}").to_ascii_lowercase();
    let kind = SIGNS
        .iter()
        .find(|(sign, _)| all.contains(sign))
        .map_or(ErrorKind::Failed, |(_, kind)| *kind);
    let said = summary(stderr, stdout);
    let hint = match kind {
        ErrorKind::InvalidInput if all.contains("returned error: 30") => {
            " (redirects are not followed; use the URL that the server redirects to)"
        }
        ErrorKind::Integrity if all.contains("host identification has changed") => {
            " (the host shows another key than the one in known_hosts)"
        }
        ErrorKind::Integrity if all.contains("host key") => {
            " (the host's key is not in known_hosts)"
        }
        ErrorKind::Integrity if all.contains("certificate") => {
            " (the server's certificate is not trusted)"
        }
        _ => "",
    };
    Error::new(kind, format!("{what} failed: {said}{hint}"))
}

/// The lines worth reading, on one line, bounded.
fn summary(stderr: &str, stdout: &str) -> String {
    let rejected = stdout.lines().filter(|line| line.starts_with('!'));
    let worth = |line: &&str| {
        let line = line.to_ascii_lowercase();
        line.starts_with("fatal:")
            || line.starts_with("error:")
            || line.starts_with("remote:")
            || line.contains("denied")
            || line.contains("verification failed")
    };
    let mut lines: Vec<&str> = rejected
        .chain(stderr.lines().filter(worth))
        .map(str::trim)
        .collect();
    if lines.is_empty() {
        lines = stderr
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        lines.drain(..lines.len().saturating_sub(3));
    }
    let mut text = lines.join("; ").replace('\t', " ");
    if let Some((at, _)) = text.char_indices().nth(600) {
        text.truncate(at);
        text.push('…');
    }
    if text.is_empty() {
        text.push_str("git gave no reason");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        for (text, kind) in [
            (
                "fatal: could not read Username for 'http://h': terminal prompts disabled",
                ErrorKind::Unauthenticated,
            ),
            (
                "Host key verification failed.\nfatal: Could not read from remote repository.",
                ErrorKind::Integrity,
            ),
            (
                "git@h: Permission denied (publickey).",
                ErrorKind::Unauthenticated,
            ),
            (
                "fatal: unable to access 'http://h/': Failed to connect to h port 1 after 0 ms: Couldn't connect to server",
                ErrorKind::Unavailable,
            ),
            (
                "fatal: unable to access 'http://h/': The requested URL returned error: 503",
                ErrorKind::Unavailable,
            ),
            (
                "fatal: unable to access 'http://h/': The requested URL returned error: 403",
                ErrorKind::PermissionDenied,
            ),
            (
                "fatal: repository 'http://h/x/' not found",
                ErrorKind::NotFound,
            ),
            (
                "fatal: couldn't find remote ref refs/heads/x",
                ErrorKind::NotFound,
            ),
            ("something else", ErrorKind::Failed),
        ] {
            assert_eq!(error("git", text, "").kind(), kind, "{text}");
        }
        let push = error(
            "git push",
            "error: failed to push some refs",
            "!\tx:refs/heads/main\t[rejected] (fetch first)\n",
        );
        assert_eq!(push.kind(), ErrorKind::Conflict);
        assert!(push.to_string().contains("fetch first"));
    }
}
