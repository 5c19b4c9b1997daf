//! Whatever a URL, a user or a path holds, ssh gets it as one argument, or it is refused.
#![cfg(unix)]
// Helpers outside of test functions may fail a test as well.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use gitops_git::{GitCli, Repository, RepositoryOptions, Revision};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// An `ssh` that writes down its arguments, and the options to use it.
fn recorder(dir: &Path) -> RepositoryOptions {
    let script = dir.join("ssh");
    let text = format!(
        "#!/bin/sh\nfor a in \"$@\"; do printf '%s\\0' \"$a\"; done > {}\nexit 1\n",
        dir.join("args").display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    RepositoryOptions::default()
        .timeout(Duration::from_secs(20))
        .transport(GitCli::new().ssh_program(script))
}

fn words(bytes: &[u8]) -> Vec<String> {
    let mut words: Vec<String> = bytes
        .split(|byte| *byte == 0)
        .map(|word| String::from_utf8(word.to_vec()).unwrap())
        .collect();
    words.pop();
    words
}

/// Text with what shells, ssh and git find special, more often than not.
fn nasty() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-z]{1,4}",
        Just("'".to_owned()),
        Just("\"".to_owned()),
        Just("\n".to_owned()),
        Just("\\".to_owned()),
        Just("$(touch ran)".to_owned()),
        Just("`touch ran`".to_owned()),
        Just(";touch ran;".to_owned()),
        Just("-oProxyCommand=touch ran".to_owned()),
        Just("--upload-pack=x".to_owned()),
        Just("%2d%0a%27".to_owned()),
        Just("!".to_owned()),
        Just(" ".to_owned()),
        Just("/".to_owned()),
        Just("@".to_owned()),
        Just(":".to_owned()),
        "\\PC{0,3}",
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

#[test]
fn what_ssh_gets_stays_one_argument() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let options = recorder(dir.path());
    let args = dir.path().join("args");
    let used = std::cell::Cell::new(0);
    let mut runner = TestRunner::new(Config {
        cases: 150,
        failure_persistence: None,
        ..Config::default()
    });
    let url = (nasty(), nasty(), 0..4).prop_map(|(one, two, form)| match form {
        0 => format!("git@git.example.com:{one}{two}"),
        1 => format!("ssh://git@git.example.com/{one}{two}"),
        2 => format!("{one}@git.example.com:x"),
        _ => format!("ssh://{one}@{two}/x"),
    });
    runner
        .run(&url, |url| {
            let _ = std::fs::remove_file(&args);
            let Ok(repository) = runtime.block_on(Repository::open(&url, options.clone())) else {
                return Ok(());
            };
            let listed = runtime.block_on(repository.list_refs());
            prop_assert!(listed.is_err());
            prop_assert!(!url.contains('\n'), "a newline was let in");
            // What git itself refuses never comes to ssh; what is a local path neither.
            let Ok(bytes) = std::fs::read(&args) else {
                return Ok(());
            };
            used.set(used.get() + 1);
            let words = words(&bytes);
            let (command, rest) = words.split_last().unwrap();
            let (host, fixed) = rest.split_last().unwrap();
            prop_assert!(!host.starts_with('-'), "{words:?}");
            prop_assert_eq!(&fixed[0], "-F");
            prop_assert_eq!(&fixed[2..], ["-o", "SendEnv=GIT_PROTOCOL"]);
            // The far side hands the command to a shell.
            let split = Command::new("sh")
                .arg("-c")
                .arg(format!("set -- {command}; printf '%s\\0' \"$@\""))
                .current_dir(dir.path())
                .output()
                .unwrap();
            let far = self::words(&split.stdout);
            prop_assert_eq!(far.len(), 2, "{}", command);
            prop_assert_eq!(&far[0], "git-upload-pack");
            prop_assert!(!far[1].starts_with('-'), "{}", command);
            Ok(())
        })
        .unwrap();
    assert!(used.get() > 20, "only {} URLs came to ssh", used.get());
    assert!(!dir.path().join("ran").exists());
}

proptest! {
    #[test]
    fn revisions_are_never_options(text in nasty()) {
        if let Ok(revision) = Revision::parse(&text) {
            let text = revision.to_string();
            prop_assert!(!text.starts_with('-'), "{text:?}");
            prop_assert!(!text.chars().any(char::is_control), "{text:?}");
        }
    }
}
