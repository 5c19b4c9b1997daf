//! A child process that cannot outlive its caller, its deadline or its output limit.

use std::process::Stdio;
use std::time::Duration;

use gitops_core::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// What a child left.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) success: bool,
    pub(crate) stdout: Vec<u8>,
    /// The end of what it wrote there, control characters escaped.
    pub(crate) stderr: String,
}

/// Kills the child's whole process group when dropped before the child was waited for: `git` starts helpers of its own.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(pid) = self
            .0
            .and_then(|pid| i32::try_from(pid).ok())
            .and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}

const STDERR_LIMIT: usize = 16 * 1024;

/// Runs `command` to its end, within `timeout`; more than `stdout_limit` bytes of output are an error.
pub(crate) async fn run(
    mut command: Command,
    what: &str,
    input: Option<&[u8]>,
    timeout: Duration,
    stdout_limit: usize,
) -> Result<Finished> {
    command
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    #[cfg(unix)]
    command.process_group(0);
    let mut child = command.spawn().map_err(|error| {
        let program = command
            .as_std()
            .get_program()
            .to_string_lossy()
            .into_owned();
        if error.kind() == std::io::ErrorKind::NotFound {
            Error::new(
                ErrorKind::Unsupported,
                format!("the program {program:?} was not found; install it or set its path"),
            )
        } else {
            Error::internal(format!("cannot start {program:?}"))
        }
        .with_source(error)
    })?;
    let mut group = Group(child.id());
    let stdin = child.stdin.take();
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    let work = async {
        let feed = async {
            if let (Some(mut pipe), Some(input)) = (stdin, input) {
                // A child that does not read its input says why on its own.
                let _ = pipe.write_all(input).await;
            }
        };
        let ((), stdout, stderr) =
            tokio::join!(feed, read_head(stdout, stdout_limit), read_tail(stderr));
        let (stdout, complete) = stdout?;
        if !complete {
            return Err(Error::invalid(format!(
                "{what} gave more than {stdout_limit} bytes of output"
            )));
        }
        let status = child.wait().await.map_err(|error| {
            Error::internal(format!("cannot wait for {what}")).with_source(error)
        })?;
        Ok((status, stdout, stderr?))
    };
    let (status, stdout, stderr) = match tokio::time::timeout(timeout, work).await {
        Ok(done) => done?,
        Err(_) => {
            return Err(Error::timeout(format!(
                "{what} took longer than {timeout:?}"
            )));
        }
    };
    group.0 = None;
    Ok(Finished {
        success: status.success(),
        stdout,
        stderr: escape(&String::from_utf8_lossy(&stderr)),
    })
}

async fn read_head(pipe: Option<impl AsyncRead + Unpin>, limit: usize) -> Result<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(limit as u64 + 1)
            .read_to_end(&mut bytes)
            .await
            .map_err(|error| Error::internal("cannot read a child's output").with_source(error))?;
    }
    let complete = bytes.len() <= limit;
    Ok((bytes, complete))
}

/// Reads to the end and keeps the last [`STDERR_LIMIT`] bytes.
async fn read_tail(pipe: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>> {
    let mut kept = Vec::new();
    if let Some(mut pipe) = pipe {
        let mut buffer = [0; 4096];
        loop {
            let count = pipe.read(&mut buffer).await.map_err(|error| {
                Error::internal("cannot read a child's errors").with_source(error)
            })?;
            if count == 0 {
                break;
            }
            kept.extend_from_slice(&buffer[..count]);
            if kept.len() > 2 * STDERR_LIMIT {
                kept.drain(..kept.len() - STDERR_LIMIT);
            }
        }
    }
    Ok(kept)
}

/// Escapes control characters other than newlines, so that a server's text cannot steer a terminal or forge log lines.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => escaped.push(c),
            '\r' => escaped.push('\n'),
            c if c.is_control() => escaped.extend(c.escape_default()),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_child_and_its_children_die_at_the_deadline() {
        let dir = tempfile::tempdir().unwrap();
        let marker = dir.path().join("alive");
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg("(sleep 2; touch \"$0\") & wait")
            .arg(&marker);
        let error = run(command, "it", None, Duration::from_millis(200), 10)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert!(!marker.exists());
    }

    #[tokio::test]
    async fn output_is_bounded_and_a_missing_program_is_named() {
        let mut command = Command::new("yes");
        command.arg("x");
        let error = run(command, "yes", None, Duration::from_secs(10), 1000)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let error = run(
            Command::new("no-such-program"),
            "it",
            None,
            Duration::from_secs(10),
            1000,
        )
        .await
        .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("no-such-program"));
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(escape("a\x1b[31mb\rc"), "a\\u{1b}[31mb\nc");
    }
}
