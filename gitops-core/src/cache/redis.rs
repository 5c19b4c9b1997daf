//! Statuses on Redis.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, FromRedisValue, Script, ScriptInvocation};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::shared::{SharedRead, SharedStatuses, WriteToken};
use crate::application::{AppRef, ApplicationStatus};
use crate::error::{Error, Result, redact_url};

/// The longest that a token of a reading lives; a reading that takes longer is not kept.
const TOKEN_LIFE: Duration = Duration::from_secs(3600);

/// Gives the value with the milliseconds that it has left, else the token for writing one, made when there is none.
const READ: &str = r"
local value = redis.call('GET', KEYS[1])
if value then return {value, redis.call('PTTL', KEYS[1]), ''} end
local token = redis.call('GET', KEYS[2])
if not token then
  token = ARGV[1]
  redis.call('SET', KEYS[2], token, 'PX', ARGV[2])
end
return {'', 0, token}
";

/// Keeps the value if the token is still the one that the writer read with.
const WRITE: &str = r"
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
";

/// Keeps the value in any case; what others are reading is older.
const OVERWRITE: &str = r"
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[4])
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
";

/// Forgets the value, and what others are reading.
const FORGET: &str = r"
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
redis.call('DEL', KEYS[1])
return 1
";

/// How to use a Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisOptions {
    /// Where the keys begin. Backends that share a Redis need a prefix each; processes that share a backend's cache have the same.
    pub prefix: String,
    /// No call takes longer.
    pub timeout: Duration,
    /// After a failed call Redis is not asked for this time.
    pub pause: Duration,
}

impl Default for RedisOptions {
    /// `gitops`, a quarter of a second, one second.
    fn default() -> Self {
        Self {
            prefix: "gitops".into(),
            timeout: Duration::from_millis(250),
            pause: Duration::from_secs(1),
        }
    }
}

/// Statuses that several processes share through one Redis (6 or newer, or Valkey; not a Redis Cluster).
///
/// Each application has two keys, `PREFIX:1:{["NAMESPACE","NAME"]}:status` and `…:token`, which expire by themselves. A status is written by a script
/// that compares the token its reader was given, and everything that changes an application changes the token. When Redis is away every call fails
/// within [`timeout`](RedisOptions::timeout), or at once while it is left alone; the connection comes back by itself, and what could not be
/// forgotten meanwhile is forgotten then, before this process reads it.
///
/// Statuses hold no secrets, but names and messages: give the SDK a Redis that nobody else writes to. Clones share the connection.
#[derive(Clone)]
pub struct RedisStatuses {
    inner: Arc<Inner>,
}

struct Inner {
    connection: ConnectionManager,
    options: RedisOptions,
    scripts: Scripts,
    away_until: Mutex<Option<Instant>>,
    /// What should have been forgotten while Redis was away.
    unforgotten: Mutex<HashSet<AppRef>>,
    catching_up: AtomicBool,
}

struct Scripts {
    read: Script,
    write: Script,
    overwrite: Script,
    forget: Script,
}

#[derive(Serialize)]
struct Written<'a> {
    /// For how long it was to live, in milliseconds: what is gone of that is its age.
    live: u64,
    status: &'a ApplicationStatus,
}

#[derive(Deserialize)]
struct Found {
    live: u64,
    status: Box<ApplicationStatus>,
}

impl fmt::Debug for RedisStatuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStatuses")
            .field("options", &self.inner.options)
            .finish_non_exhaustive()
    }
}

impl RedisStatuses {
    /// The Redis at `url` (`redis://[user:password@]host[:port][/db]`, `rediss://` for TLS with the process's default provider of rustls). It need
    /// not be there yet.
    ///
    /// # Errors
    /// `InvalidInput` for a URL that is none.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(url: &str, options: RedisOptions) -> Result<Self> {
        let invalid = |error: &redis::RedisError| {
            // The client's own words may hold the URL.
            Error::invalid(format!(
                "{} is no Redis to connect to: {}",
                redact_url(url),
                error.kind_text()
            ))
        };
        let client = Client::open(url).map_err(|error| invalid(&error))?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(options.timeout))
            .set_response_timeout(Some(options.timeout))
            .set_number_of_retries(1);
        let connection = ConnectionManager::new_lazy_with_config(client, config)
            .map_err(|error| invalid(&error))?;
        Ok(Self {
            inner: Arc::new(Inner {
                connection,
                options,
                scripts: Scripts {
                    read: Script::new(READ),
                    write: Script::new(WRITE),
                    overwrite: Script::new(OVERWRITE),
                    forget: Script::new(FORGET),
                },
                away_until: Mutex::default(),
                unforgotten: Mutex::default(),
                catching_up: AtomicBool::new(false),
            }),
        })
    }

    /// How it is used.
    pub fn options(&self) -> &RedisOptions {
        &self.inner.options
    }

    /// Whether Redis answered when it was last asked.
    pub fn is_there(&self) -> bool {
        self.inner.away_until().is_none()
    }
}

trait KindText {
    fn kind_text(&self) -> String;
}

impl KindText for redis::RedisError {
    fn kind_text(&self) -> String {
        format!("{:?}", self.kind())
    }
}

fn milliseconds(time: Duration) -> u64 {
    // Redis refuses a life of nothing.
    u64::try_from(time.as_millis())
        .unwrap_or(u64::MAX / 2)
        .max(1)
}

fn token() -> String {
    format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..))
}

impl Inner {
    fn away_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.away_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn unforgotten(&self) -> MutexGuard<'_, HashSet<AppRef>> {
        self.unforgotten
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A script with the keys of `app`; names are JSON strings, so that no two applications share a key.
    fn on<'a>(&self, script: &'a Script, app: &AppRef) -> ScriptInvocation<'a> {
        let names = serde_json::json!([app.namespace, app.name]);
        let prefix = &self.options.prefix;
        let mut call = script.prepare_invoke();
        call.key(format!("{prefix}:1:{{{names}}}:status"))
            .key(format!("{prefix}:1:{{{names}}}:token"));
        call
    }

    async fn call<T: FromRedisValue>(&self, call: &ScriptInvocation<'_>) -> Result<T> {
        if self
            .away_until()
            .is_some_and(|until| Instant::now() < until)
        {
            return Err(Error::unavailable(
                "Redis failed a moment ago and is left alone for now",
            ));
        }
        let mut connection = self.connection.clone();
        let answer = tokio::time::timeout(
            self.options.timeout,
            call.invoke_async::<T>(&mut connection),
        )
        .await;
        let error = match answer {
            Ok(Ok(answer)) => {
                *self.away_until() = None;
                return Ok(answer);
            }
            Ok(Err(error)) => Error::unavailable(format!("Redis failed: {}", error.kind_text())),
            Err(_) => Error::unavailable(format!(
                "no answer of Redis within {:?}",
                self.options.timeout
            )),
        };
        *self.away_until() = Instant::now().checked_add(self.options.pause);
        Err(error)
    }

    async fn forget(&self, app: &AppRef) -> Result<()> {
        let mut call = self.on(&self.scripts.forget, app);
        call.arg(token()).arg(milliseconds(TOKEN_LIFE));
        self.call::<i64>(&call).await.map(drop)
    }

    /// Forgets what could not be forgotten, until all is done or nobody has this store any more.
    fn catch_up(self: &Arc<Self>) {
        if self.catching_up.swap(true, Ordering::AcqRel) {
            return;
        }
        let (store, pause) = (Arc::downgrade(self), self.options.pause);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(pause.max(Duration::from_millis(10))).await;
                let Some(inner) = Weak::upgrade(&store) else {
                    return;
                };
                let apps: Vec<_> = inner.unforgotten().iter().cloned().collect();
                if apps.is_empty() {
                    inner.catching_up.store(false, Ordering::Release);
                    // One that came in between found this task running.
                    if inner.unforgotten().is_empty()
                        || inner.catching_up.swap(true, Ordering::AcqRel)
                    {
                        return;
                    }
                }
                for app in apps {
                    if inner.forget(&app).await.is_err() {
                        break;
                    }
                    inner.unforgotten().remove(&app);
                }
            }
        });
    }
}

#[async_trait]
impl SharedStatuses for RedisStatuses {
    async fn read(&self, app: &AppRef) -> Result<SharedRead> {
        let inner = &self.inner;
        if inner.unforgotten().contains(app) {
            inner.forget(app).await?;
            inner.unforgotten().remove(app);
        }
        let mut call = inner.on(&inner.scripts.read, app);
        call.arg(token()).arg(milliseconds(TOKEN_LIFE));
        let (value, left, token): (Vec<u8>, i64, String) = inner.call(&call).await?;
        if value.is_empty() {
            return Ok(SharedRead::Missing(WriteToken(token)));
        }
        let found: Found = serde_json::from_slice(&value).map_err(|error| {
            Error::internal(format!(
                "what Redis has of application {app} is no status: {error}"
            ))
        })?;
        let left = u64::try_from(left).unwrap_or(0);
        Ok(SharedRead::Found {
            status: found.status,
            age: Duration::from_millis(found.live.saturating_sub(left)),
        })
    }

    async fn write(
        &self,
        app: &AppRef,
        status: &ApplicationStatus,
        read_with: Option<&WriteToken>,
        time_to_live: Duration,
    ) -> Result<()> {
        let inner = &self.inner;
        let live = milliseconds(time_to_live);
        let value = serde_json::to_vec(&Written { live, status }).map_err(|error| {
            Error::internal(format!(
                "the status of application {app} cannot be written: {error}"
            ))
        })?;
        match read_with {
            // It was read before a change that Redis was not told of.
            Some(_) if inner.unforgotten().contains(app) => Ok(()),
            Some(read_with) => {
                let mut call = inner.on(&inner.scripts.write, app);
                call.arg(&read_with.0).arg(value).arg(live);
                inner.call::<i64>(&call).await.map(drop)
            }
            None => {
                let mut call = inner.on(&inner.scripts.overwrite, app);
                call.arg(token())
                    .arg(value)
                    .arg(live)
                    .arg(milliseconds(TOKEN_LIFE));
                match inner.call::<i64>(&call).await {
                    Ok(_) => {
                        inner.unforgotten().remove(app);
                        Ok(())
                    }
                    Err(error) => {
                        // What is there is older than what was to be written.
                        inner.unforgotten().insert(app.clone());
                        inner.catch_up();
                        Err(error)
                    }
                }
            }
        }
    }

    async fn forget(&self, app: &AppRef) -> Result<()> {
        let inner = &self.inner;
        // First, so that nothing is told from there while Redis is being asked.
        inner.unforgotten().insert(app.clone());
        match inner.forget(app).await {
            Ok(()) => {
                inner.unforgotten().remove(app);
                Ok(())
            }
            Err(error) => {
                inner.catch_up();
                Err(error)
            }
        }
    }
}
