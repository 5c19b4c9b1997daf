//! Validators that need a cluster, or what one once said.
//!
//! | validator | asks |
//! | --- | --- |
//! | [`DryRunValidator`] | the API server, by a dry-run apply of each object: schema, validation, admission |
//! | `SchemaValidator` (feature `schema`) | the API server's OpenAPI documents, read once and kept in a file for offline use |
//!
//! Both are [`Validator`](gitops_core::validate::Validator)s for [`Validators`](gitops_core::validate::Validators).

mod dry_run;
mod field;
#[cfg(feature = "schema")]
mod keywords;
#[cfg(feature = "schema")]
mod schema;
#[cfg(feature = "schema")]
mod store;
#[cfg(feature = "schema")]
mod strict;

pub use self::dry_run::{DryRunOptions, DryRunValidator};
#[cfg(feature = "schema")]
pub use self::schema::SchemaValidator;
#[cfg(feature = "schema")]
pub use self::store::Schemas;
