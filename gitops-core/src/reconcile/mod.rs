//! The loop that a team runs: applications are looked at, and synced when they should be.

mod owner;

pub use self::owner::{Everything, Ownership, Tenure};
