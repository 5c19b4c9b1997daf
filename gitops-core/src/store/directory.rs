//! Applications in a directory.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{
    Listing, StatusStore, decide_put, decide_put_over_unreadable, not_found, refuse_cascade,
    version,
};
use crate::application::{AppRef, Application, ApplicationStatus};
use crate::backend::{ApplicationStore, DeleteOptions, ListOptions, PutMode, PutOutcome, Stored};
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::yaml;

/// The folder of applications without a namespace; no namespace can have this name.
const NO_NAMESPACE: &str = "_";
/// The folder of statuses; no application can have this name.
const STATUSES: &str = ".status";
/// File systems keep names of 255 bytes, and `.yaml` is five of them.
const MAX_NAME: usize = 250;
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two looks at a lock that somebody else holds.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Keeps applications as YAML files: `DIR/NAMESPACE/NAME.yaml` (`_` without a namespace), and their statuses in `DIR/NAMESPACE/.status/NAME.yaml`.
///
/// Files may be read and edited by people; one that cannot be read afterwards can be replaced and deleted, but never one that holds another application. Each is replaced as a whole and flushed before the old one goes, so that a reader never sees half of one and a crash
/// loses none. Writers, also of other processes on the same machine, take turns by a lock on `DIR/.lock`, for which they wait [only so long](Self::lock_timeout); not every network file system keeps such locks.
/// A writer that was killed leaves at most a file `.new-…`, which nothing reads. Dropping a future does not stop a write that has begun: it is done or not, never half.
#[derive(Clone, Debug)]
pub struct DirectoryStore {
    dir: PathBuf,
    lock_timeout: Duration,
}

impl DirectoryStore {
    /// A store in `dir`, which is made if it is missing.
    ///
    /// # Errors
    /// `PermissionDenied`, or else `Internal`, when the directory cannot be made.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self> {
        let dir = dir.into();
        make_folder(&dir).map_err(|error| failed("make", &dir, error))?;
        Ok(Self {
            dir,
            lock_timeout: LOCK_TIMEOUT,
        })
    }

    /// How long a write waits for other writers, 30 s unless set; then it is `Timeout`.
    #[must_use]
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    fn place(&self, app: &AppRef) -> Result<Place> {
        let namespace = match app.namespace.as_str() {
            "" => NO_NAMESPACE,
            namespace => check_name(namespace)?,
        };
        let folder = self.dir.join(namespace);
        let file = format!("{}.yaml", check_name(&app.name)?);
        Ok(Place {
            app: folder.join(&file),
            status: folder.join(STATUSES).join(file),
        })
    }

    /// Runs `work` off the async threads; with `exclusive`, while no other writer writes.
    async fn run<T, F>(&self, exclusive: bool, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Self) -> Result<T> + Send + 'static,
    {
        let lock = if exclusive {
            Some(self.lock().await?)
        } else {
            None
        };
        let store = self.clone();
        off_thread(move || {
            // Held until the work is done.
            let _lock = lock;
            work(&store)
        })
        .await
    }

    /// Waits for its turn. Who drops the future gives its place up.
    async fn lock(&self) -> Result<File> {
        let path = self.dir.join(".lock");
        let (started, mut pause) = (Instant::now(), Duration::ZERO);
        loop {
            let place = path.clone();
            // Slept off the async threads too: a runtime need not have timers.
            let lock = off_thread(move || {
                std::thread::sleep(pause);
                try_lock(&place)
            });
            if let Some(lock) = lock.await? {
                return Ok(lock);
            }
            let left = self.lock_timeout.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Err(Error::timeout(format!(
                    "{} was locked by another writer for {:?}",
                    path.display(),
                    self.lock_timeout
                )));
            }
            pause = (2 * pause)
                .clamp(Duration::from_millis(1), LONGEST_PAUSE)
                .min(left);
        }
    }

    fn update(&self, app: &AppRef, change: impl FnOnce(&mut Application)) -> Result<()> {
        let place = self.place(app)?;
        let mut stored = find(&place.app, app)?
            .app()?
            .ok_or_else(|| not_found(app))?;
        let before = stored.clone();
        change(&mut stored);
        if stored == before {
            return Ok(());
        }
        write(&place.app, &stored)
    }

    fn load(&self, app: &AppRef, with_status: bool) -> Result<Option<Stored>> {
        let place = self.place(app)?;
        let Some(stored) = find(&place.app, app)?.app()? else {
            return Ok(None);
        };
        let status = if with_status {
            read(&place.status)?
        } else {
            None
        };
        Ok(Some(Stored {
            version: version(&stored),
            app: stored,
            status,
        }))
    }

    fn names(&self) -> Result<Vec<AppRef>> {
        let mut names = Vec::new();
        for namespace in entries(&self.dir)? {
            if namespace.starts_with('.') {
                continue;
            }
            for file in entries(&self.dir.join(&namespace))? {
                if let Some(name) = file
                    .strip_suffix(".yaml")
                    .filter(|_| !file.starts_with('.'))
                {
                    let namespace = if namespace == NO_NAMESPACE {
                        ""
                    } else {
                        &namespace
                    };
                    names.push(AppRef::namespaced(namespace, name));
                }
            }
        }
        names.sort();
        Ok(names)
    }
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal("the store's work was aborted").with_source(error))?
}

fn try_lock(path: &Path) -> Result<Option<File>> {
    let file = File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(path)
        .map_err(|error| failed("lock", path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(failed("lock", path, error)),
    }
}

struct Place {
    app: PathBuf,
    status: PathBuf,
}

#[async_trait]
impl ApplicationStore for DirectoryStore {
    async fn put(&self, app: &Application, mode: PutMode) -> Result<PutOutcome> {
        let app = app.clone();
        self.run(true, move |store| {
            let place = store.place(&app.app_ref())?;
            let outcome = match find(&place.app, &app.app_ref())? {
                Found::Damaged(error) => decide_put_over_unreadable(&app, &mode, error)?,
                found => decide_put(found.app()?.as_ref(), &app, &mode)?,
            };
            if outcome.changed {
                write(&place.app, &app)?;
            }
            Ok(outcome)
        })
        .await
    }

    async fn get(&self, app: &AppRef) -> Result<Stored> {
        let app = app.clone();
        self.run(false, move |store| {
            store.load(&app, true)?.ok_or_else(|| not_found(&app))
        })
        .await
    }

    async fn list(&self, options: &ListOptions) -> Result<Vec<Stored>> {
        let options = options.clone();
        self.run(false, move |store| {
            let mut listing = Listing::new(&options);
            for app in store.names()? {
                match store.load(&app, options.with_status).transpose() {
                    Some(Err(error)) if error.kind() == ErrorKind::InvalidInput => {
                        let named = format!("{app} cannot be the name of an application");
                        listing.add(Some(&app), Err(Error::integrity(named).with_source(error)))?;
                    }
                    Some(record) => listing.add(Some(&app), record)?,
                    // Deleted since the directory was read.
                    None => {}
                }
            }
            listing.finish()
        })
        .await
    }

    async fn delete(&self, app: &AppRef, options: &DeleteOptions) -> Result<()> {
        let (app, cascade) = (app.clone(), options.cascade);
        self.run(true, move |store| {
            let place = store.place(&app)?;
            match find(&place.app, &app)? {
                Found::Nothing => return Err(not_found(&app)),
                Found::Other(error) => return Err(error),
                Found::App(_) | Found::Damaged(_) => {}
            }
            if cascade {
                return Err(refuse_cascade(&app));
            }
            // The status first: one without an application would come back with a new one of that name.
            remove(&place.status)?;
            remove(&place.app)
        })
        .await
    }

    async fn suspend(&self, app: &AppRef) -> Result<()> {
        let app = app.clone();
        self.run(true, move |store| {
            store.update(&app, |app| app.suspended = true)
        })
        .await
    }

    async fn resume(&self, app: &AppRef) -> Result<()> {
        let app = app.clone();
        self.run(true, move |store| {
            store.update(&app, |app| app.suspended = false)
        })
        .await
    }
}

#[async_trait]
impl StatusStore for DirectoryStore {
    async fn status(&self, app: &AppRef) -> Result<Option<ApplicationStatus>> {
        let app = app.clone();
        self.run(false, move |store| read(&store.place(&app)?.status))
            .await
    }

    async fn put_status(&self, app: &AppRef, status: &ApplicationStatus) -> Result<()> {
        let (app, status) = (app.clone(), status.clone());
        self.run(true, move |store| {
            let place = store.place(&app)?;
            if !place.app.exists() {
                return Err(not_found(&app));
            }
            write(&place.status, &status)
        })
        .await
    }
}

/// Names of applications and namespaces become names of files.
fn check_name(name: &str) -> Result<&str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if name.is_empty()
        || name.len() > MAX_NAME
        || name.starts_with(['.', '_', '-'])
        || !name.chars().all(fits)
    {
        return Err(Error::invalid(format!(
            "{name:?} cannot be the name of a file: expected at most {MAX_NAME} letters, digits, '-', '.' and '_', beginning with a letter or digit"
        )));
    }
    Ok(name)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path, error)),
    };
    // The file is at fault, not who asks for it.
    let value = yaml::parse_value(&path.display().to_string(), &bytes)
        .map_err(|error| Error::integrity(error.to_string()).with_source(error))?;
    serde_json::from_value(value).map(Some).map_err(|error| {
        Error::integrity(format!("{} is not what a store writes", path.display()))
            .with_source(error)
    })
}

/// What stands in an application's place.
enum Found {
    Nothing,
    App(Box<Application>),
    /// Nobody can read it.
    Damaged(Error),
    /// Another application, which must not be lost: a file may be moved by hand, and some file systems take `a` and `A` for one name.
    Other(Error),
}

impl Found {
    fn app(self) -> Result<Option<Application>> {
        match self {
            Self::Nothing => Ok(None),
            Self::App(app) => Ok(Some(*app)),
            Self::Damaged(error) | Self::Other(error) => Err(error),
        }
    }
}

fn find(path: &Path, app: &AppRef) -> Result<Found> {
    match read::<Application>(path) {
        Ok(None) => Ok(Found::Nothing),
        Ok(Some(stored)) if stored.app_ref() != *app => Ok(Found::Other(Error::integrity(
            format!("{} holds application {}", path.display(), stored.app_ref()),
        ))),
        Ok(Some(stored)) => Ok(Found::App(Box::new(stored))),
        Err(error) if error.kind() == ErrorKind::Integrity => Ok(Found::Damaged(error)),
        Err(error) => Err(error),
    }
}

/// Replaces a file as a whole.
fn write<T: Serialize>(path: &Path, record: &T) -> Result<()> {
    let value = serde_json::to_value(record)
        .map_err(|error| Error::internal("a record has no JSON form").with_source(error))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let replace = || {
        make_folder(folder)?;
        let mut file = tempfile::Builder::new()
            .prefix(".new-")
            .tempfile_in(folder)?;
        file.write_all(yaml::to_yaml(&value).as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        sync(folder)
    };
    replace().map_err(|error| failed("write", path, error))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Ok(()) => path
            .parent()
            .map_or(Ok(()), sync)
            .map_err(|error| failed("remove", path, error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("remove", path, error)),
    }
}

/// Makes a folder and those above it; each is on disk when the one that it is in is.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let above = match folder.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    };
    make_folder(above)?;
    match fs::create_dir(folder) {
        // Another writer was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync(above),
    }
}

/// A rename is on disk when its folder is.
fn sync(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder)?.sync_all()
    } else {
        Ok(())
    }
}

fn entries(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let listed = match fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(names);
        }
        Err(error) => return Err(failed("list", folder, error)),
    };
    for entry in listed {
        let entry = entry.map_err(|error| failed("list", folder, error))?;
        // What is no UTF-8 is no name of an application either, and is told as one that cannot be.
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    let message = format!("cannot {what} {}", path.display());
    match error.kind() {
        io::ErrorKind::PermissionDenied => Error::permission_denied(message),
        _ => Error::internal(message),
    }
    .with_source(error)
}
