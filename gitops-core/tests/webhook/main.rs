//! Webhooks in, without a forge.

#![allow(clippy::unwrap_used)]

mod http;
mod payloads;
mod verify;
