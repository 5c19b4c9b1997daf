//! Ends of waits.

use std::time::Duration;

use tokio::time::Instant;

/// What is longer does not end in a program's life, and may not fit into an [`Instant`].
const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// The moment after `time`; a time like `Duration::MAX` means for ever.
pub(crate) fn after(time: Duration) -> Instant {
    Instant::now() + time.min(FOR_EVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endless_times_are_no_panic() {
        assert!(after(Duration::MAX) > after(Duration::from_secs(60)));
    }
}
