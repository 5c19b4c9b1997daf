//! For tests: mocks of the traits, and suites that hold an implementation to its contract.

pub mod conformance;
pub mod mocks;
