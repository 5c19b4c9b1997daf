//! Work that holds a thread: done where threads are for that, and given up when nobody waits for it any more.

use std::io::{self, Read};
use std::sync::{Arc, Weak};

use gitops_core::{Error, ErrorKind, Result};

/// Whether somebody still waits for a piece of work.
#[derive(Clone, Debug)]
pub(crate) struct Wanted(Weak<()>);

impl Wanted {
    /// An error once nobody waits any more: it ends the work, and nobody sees it.
    pub(crate) fn check(&self) -> Result<()> {
        if self.0.strong_count() > 0 {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Cancelled,
            "nobody waits for it any more",
        ))
    }

    /// A reader that fails once nobody waits any more.
    pub(crate) fn reader<R: Read>(&self, inner: R) -> impl Read + use<R> {
        Watched {
            inner,
            wanted: self.clone(),
        }
    }
}

struct Watched<R> {
    inner: R,
    wanted: Wanted,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wanted.check().map_err(io::Error::other)?;
        self.inner.read(buffer)
    }
}

/// Does `work`, of which `what` is the name, on a thread that may be held. Nothing stops such a thread: work that may take long has to ask
/// whether it is still wanted, which ends when the future is dropped.
pub(crate) async fn off_thread<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce(&Wanted) -> Result<T> + Send + 'static,
) -> Result<T> {
    let waiting = Arc::new(());
    let wanted = Wanted(Arc::downgrade(&waiting));
    let work = move || {
        // It may have waited for a thread.
        wanted.check()?;
        work(&wanted)
    };
    let done = tokio::task::spawn_blocking(work).await;
    drop(waiting);
    done.map_err(|error| Error::internal(format!("{what} stopped")).with_source(error))?
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn work_ends_with_the_future() {
        let (started, has_started) = tokio::sync::oneshot::channel();
        let (ended, has_ended) = mpsc::channel();
        let endless = off_thread("reading", move |wanted| {
            let _ = started.send(());
            let read = io::copy(&mut wanted.reader(io::repeat(0)), &mut io::sink());
            let _ = ended.send(read.is_err());
            Ok(())
        });
        tokio::select! {
            _ = endless => panic!("it has no end"),
            _ = has_started => {}
        }
        assert_eq!(has_ended.recv_timeout(Duration::from_secs(10)), Ok(true));
    }

    #[tokio::test]
    async fn what_the_work_gives_comes_back() {
        let work = |wanted: &Wanted| wanted.check().map(|()| 1);
        assert_eq!(off_thread("counting", work).await.unwrap(), 1);
        let error = off_thread("counting", |_| -> Result<()> {
            panic!("as it is meant to")
        })
        .await
        .unwrap_err();
        assert_eq!(error.message(), "counting stopped");
    }
}
