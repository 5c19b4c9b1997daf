//! Flux's resources as values: nothing is lost, earlier versions are read, and nothing secret is printed.

#![allow(clippy::unwrap_used)]

mod duration;
mod inventory;
mod kinds;
mod lists;
mod secrets;
mod upgrade;
mod values;
