//! Who did what, when, to which application, and what came of it.
//!
//! An [`AuditedBackend`] writes two [`AuditRecord`]s for every mutation that passes through it: one before it is tried
//! ([`AuditOutcome::Requested`]) and one with what came of it. An [`AuditLog`] hands them to its [`AuditSink`]s: a [`FileSink`] keeps them
//! as JSON lines in a hash chain that makes tampering evident ([`verify`]), a [`TracingSink`] makes them `tracing` events.
//!
//! ```
//! use std::sync::Arc;
//! use gitops_core::audit::{AuditLog, AuditedBackend, FileOptions, FileSink, TracingSink, verify};
//! # use gitops_core::backend::Backend;
//! # fn audited(backend: Arc<dyn Backend>, dir: &std::path::Path) -> gitops_core::Result<AuditedBackend> {
//! let path = dir.join("audit.jsonl");
//! let log = AuditLog::new()
//!     .with_sink(Arc::new(FileSink::open(&path, FileOptions::default())?))
//!     .with_sink(Arc::new(TracingSink));
//! let backend = AuditedBackend::new(backend, Arc::new(log)).acting_as("deploy-bot");
//! // … later, and from anywhere:
//! let proof = verify(&path, None)?;
//! println!("{} records, the last one is {}", proof.records, proof.head.hash);
//! # Ok(backend)
//! # }
//! ```

mod backend;
mod chain;
mod file;
mod log;
mod record;
mod trace;

pub use self::backend::AuditedBackend;
pub use self::chain::{ChainHead, Proof, verify};
pub use self::file::{FileOptions, FileSink};
pub use self::log::{AuditLog, AuditSink};
pub use self::record::{AuditAction, AuditOutcome, AuditRecord, ObjectChange};
pub use self::trace::TracingSink;
