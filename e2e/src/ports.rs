//! Free ports on the loopback interface.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};

use crate::supervisor::ADDRESS_VARIABLE;

static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port that nobody listens on. It lies below the range from which the kernel takes ports for outgoing connections, so a server
/// that is killed finds it free when it is started again.
///
/// # Errors
///
/// When all are taken.
pub fn free_port() -> Result<u16> {
    const FIRST: u32 = 15_000;
    const COUNT: u32 = 7_000;
    // A port is chosen a while before its server listens: the tests choose among the odd ones, and who runs them among the even ones.
    let odd = u32::from(std::env::var_os(ADDRESS_VARIABLE).is_some());
    let mut given = GIVEN
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    // Processes that run side by side begin at different places.
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .subsec_nanos();
    let start = now.wrapping_add(std::process::id().wrapping_mul(7919)) % COUNT;
    for n in 0..COUNT {
        let Ok(port) = u16::try_from(FIRST + (start + n) % COUNT * 2 + odd) else {
            continue;
        };
        if !given.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            given.insert(port);
            return Ok(port);
        }
    }
    bail!("no free port between {FIRST} and {}", FIRST + 2 * COUNT)
}

/// Whether somebody accepts connections on a port.
pub(crate) async fn open(port: u16) -> bool {
    tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .is_ok()
}
