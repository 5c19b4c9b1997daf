//! A log as a file of JSON lines.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;

use super::chain::{self, ChainHead, SEQUENCE_DIGITS};
use super::log::AuditSink;
use super::record::AuditRecord;
use crate::error::{Error, Result};
use crate::secret::SecretString;

/// How a [`FileSink`] keeps its file.
#[derive(Clone, Debug)]
pub struct FileOptions {
    /// A file that would grow beyond this many bytes is moved away first, to `PATH.` and the number of its last record; 64 MiB unless set.
    pub max_bytes: u64,
    /// How many such files are kept besides the current one; `None`, the default, keeps all.
    pub keep: Option<usize>,
    /// Flush every record to the disk before it counts as kept, so that a power failure loses none. On unless turned off.
    pub sync: bool,
    /// With a key, only who knows it can write the log anew.
    pub key: Option<SecretString>,
}

impl Default for FileOptions {
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            keep: None,
            sync: true,
            key: None,
        }
    }
}

/// Appends records to a file, one JSON line each, in a hash chain ([`verify`](super::verify)).
///
/// Every record is one write. A line that a full disk cut short is taken back at once, one that a power failure tore is taken back by the next writer: neither
/// was ever acknowledged. Writers of several processes take turns by a lock on `PATH.lock`, and share one chain. On Unix, files are made readable
/// by their owner only.
#[derive(Clone, Debug)]
pub struct FileSink {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    lock: File,
    options: FileOptions,
    /// The lock on the file keeps out other processes and other sinks, this one the other threads of this sink.
    turn: Mutex<()>,
    /// The file as it was when we wrote last, and where the chain ended.
    last: Mutex<Option<(Seen, ChainHead)>>,
}

/// Tells a file from itself at another time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    length: u64,
    /// Another file may have taken the place of the one that was moved away.
    file: u64,
    /// And it may have the number of one that was removed.
    modified: Option<SystemTime>,
}

impl Seen {
    fn of(metadata: &fs::Metadata) -> Self {
        #[cfg(unix)]
        let file = std::os::unix::fs::MetadataExt::ino(metadata);
        #[cfg(not(unix))]
        let file = metadata
            .created()
            .ok()
            .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
            .map_or(0, |since| since.as_nanos() as u64);
        Self {
            length: metadata.len(),
            file,
            modified: metadata.modified().ok(),
        }
    }
}

impl FileSink {
    /// A sink that appends to `path`; the file is made with its first record, its folder must be there.
    ///
    /// # Errors
    /// `Integrity` when the file's last record is damaged, or was written with another key: nothing is appended to a chain that is broken.
    /// `PermissionDenied` or `Internal` when the folder cannot be written.
    pub fn open(path: impl Into<PathBuf>, options: FileOptions) -> Result<Self> {
        let path = path.into();
        let mut lock_path = path.clone().into_os_string();
        lock_path.push(".lock");
        let lock = open(Path::new(&lock_path))?;
        let inner = Inner {
            path,
            lock,
            options,
            turn: Mutex::new(()),
            last: Mutex::new(None),
        };
        inner.exclusively(|inner| inner.head().map(drop))?;
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Where the chain ends now: keep it elsewhere to find out later whether the log's end was cut off. Blocking.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn head(&self) -> Result<ChainHead> {
        self.inner.exclusively(|inner| Ok(inner.head()?.1))
    }
}

#[async_trait]
impl AuditSink for FileSink {
    fn name(&self) -> &str {
        "file"
    }

    async fn append(&self, record: &AuditRecord) -> Result<()> {
        let inner = self.inner.clone();
        let record = record.clone();
        // It goes on when the future is dropped: the record is kept then, whole.
        tokio::task::spawn_blocking(move || inner.exclusively(|inner| inner.append(&record)))
            .await
            .map_err(|error| {
                Error::internal("writing the audit log was aborted").with_source(error)
            })?
    }
}

impl Inner {
    /// Runs `work` while nobody else, here or in another process, writes.
    fn exclusively<T>(&self, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.lock
            .lock()
            .map_err(|error| failed("lock", &self.path, error))?;
        let result = work(self);
        // A lock that cannot be given back ends with the process.
        let _ = self.lock.unlock();
        result
    }

    fn append(&self, record: &AuditRecord) -> Result<()> {
        let (mut length, head) = self.head()?;
        let (line, next) = chain::line(record, &head, self.options.key.as_ref())?;
        if length > 0 && length + line.len() as u64 > self.options.max_bytes {
            self.rotate(&head)?;
            length = 0;
        }
        *self.last() = None;
        let mut file = open(&self.path)?;
        match self.write(&mut file, &line, length == 0) {
            Ok(seen) => {
                *self.last() = Some((seen, next));
                Ok(())
            }
            Err(error) => {
                // What a full disk took of the line goes again.
                if let Err(error) = file.set_len(length) {
                    tracing::warn!(%error, path = %self.path.display(), "half an audit record could not be taken back; the next writer will");
                }
                Err(failed("write", &self.path, error))
            }
        }
    }

    fn write(&self, file: &mut File, line: &str, new: bool) -> std::io::Result<Seen> {
        file.write_all(line.as_bytes())?;
        if self.options.sync {
            file.sync_data()?;
            #[cfg(unix)]
            if new {
                // Or else a power failure could lose the file's name.
                File::open(chain::folder(&self.path))?.sync_all()?;
            }
        }
        file.metadata().map(|metadata| Seen::of(&metadata))
    }

    fn last(&self) -> MutexGuard<'_, Option<(Seen, ChainHead)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the file is, and where the chain ends. A torn line is removed.
    fn head(&self) -> Result<(u64, ChainHead)> {
        let seen = match fs::metadata(&self.path) {
            Ok(metadata) => Seen::of(&metadata),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Seen::default(),
            Err(error) => return Err(failed("read", &self.path, error)),
        };
        let length = seen.length;
        if let Some((known, head)) = &*self.last()
            && *known == seen
        {
            return Ok((length, head.clone()));
        }
        if length == 0 {
            return Ok((0, self.head_of_older()?));
        }
        let mut file = open(&self.path)?;
        let (line, end) =
            last_line(&mut file, length).map_err(|error| failed("read", &self.path, error))?;
        if end < length {
            tracing::warn!(path = %self.path.display(), bytes = length - end, "a torn audit record, never acknowledged, is removed");
            file.set_len(end)
                .map_err(|error| failed("write", &self.path, error))?;
        }
        let head = if end == 0 {
            self.head_of_older()?
        } else {
            self.check(&line, &self.path)?
        };
        Ok((end, head))
    }

    fn head_of_older(&self) -> Result<ChainHead> {
        let Some(newest) = chain::older_files(&self.path)?.pop() else {
            return Ok(ChainHead::default());
        };
        let mut file = File::open(&newest).map_err(|error| failed("read", &newest, error))?;
        let length = file
            .metadata()
            .map_err(|error| failed("read", &newest, error))?
            .len();
        let (line, _) =
            last_line(&mut file, length).map_err(|error| failed("read", &newest, error))?;
        self.check(&line, &newest)
    }

    fn check(&self, line: &[u8], path: &Path) -> Result<ChainHead> {
        let (_, head) = chain::read_line(line, self.options.key.as_ref())
            .map_err(|error| error.context(format!("the last record of {}", path.display())))?;
        Ok(head)
    }

    fn rotate(&self, head: &ChainHead) -> Result<()> {
        let mut full = self.path.clone().into_os_string();
        full.push(format!(
            ".{:0width$}",
            head.sequence,
            width = SEQUENCE_DIGITS
        ));
        fs::rename(&self.path, &full).map_err(|error| failed("rotate", &self.path, error))?;
        let Some(keep) = self.options.keep else {
            return Ok(());
        };
        let older = chain::older_files(&self.path)?;
        let surplus = older.len().saturating_sub(keep.max(1));
        for path in older.iter().take(surplus) {
            fs::remove_file(path).map_err(|error| failed("remove", path, error))?;
        }
        Ok(())
    }
}

/// The last whole line without its break, and where it ends.
fn last_line(file: &mut File, length: u64) -> std::io::Result<(Vec<u8>, u64)> {
    let mut window = 64 << 10;
    loop {
        let start = length.saturating_sub(window);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        file.take(length - start).read_to_end(&mut bytes)?;
        let mut breaks = bytes
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, byte)| **byte == b'\n')
            .map(|(at, _)| at);
        match (breaks.next(), breaks.next(), start) {
            (Some(end), Some(before), _) => {
                return Ok((bytes[before + 1..end].to_vec(), start + end as u64 + 1));
            }
            (Some(end), None, 0) => return Ok((bytes[..end].to_vec(), end as u64 + 1)),
            (None, _, 0) => return Ok((Vec::new(), 0)),
            _ => window *= 4,
        }
    }
}

fn open(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.create(true).read(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
        .open(path)
        .map_err(|error| failed("open", path, error))
}

fn failed(what: &str, path: &Path, error: std::io::Error) -> Error {
    let message = format!("cannot {what} {}: {error}", path.display());
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => Error::permission_denied(message),
        std::io::ErrorKind::StorageFull => Error::unavailable(message),
        _ => Error::internal(message),
    }
    .with_source(error)
}
