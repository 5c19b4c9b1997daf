//! End-to-end tests.

mod peers;
