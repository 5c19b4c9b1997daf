//! The token of a reconcile request.

use jiff::{SignedDuration, Timestamp};

/// The annotation that asks a controller to reconcile an object now (fluxcd/pkg/apis/meta 1.23). The controller writes its value to `status.lastHandledReconcileAt` at the end of the
/// run that saw it.
pub const REQUESTED_AT: &str = "reconcile.fluxcd.io/requestedAt";
/// The annotation that forces one install or upgrade of a HelmRelease when it equals [`REQUESTED_AT`] (helm-controller 1.4).
pub const FORCE_AT: &str = "reconcile.fluxcd.io/forceAt";
/// The annotation that resets the failure counts of a HelmRelease when it equals [`REQUESTED_AT`] (helm-controller 1.4).
pub const RESET_AT: &str = "reconcile.fluxcd.io/resetAt";

/// A token that `previous` is not: the time as Go's `RFC3339Nano` writes it, which is what the `flux` command sends.
pub(crate) fn fresh(previous: Option<&str>) -> String {
    after(Timestamp::now(), previous)
}

fn after(now: Timestamp, previous: Option<&str>) -> String {
    let token = now.to_string();
    if previous != Some(token.as_str()) {
        return token;
    }
    // Two requests within one tick of a coarse clock would be one request for the controller.
    now.checked_add(SignedDuration::from_nanos(1))
        .unwrap_or(now)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_written_as_go_writes_them() {
        for (nanos, written) in [
            (0, "2025-01-02T03:04:05Z"),
            (120_000_000, "2025-01-02T03:04:05.12Z"),
            (123_456_789, "2025-01-02T03:04:05.123456789Z"),
            (1, "2025-01-02T03:04:05.000000001Z"),
        ] {
            let at = Timestamp::new(1_735_787_045, nanos).unwrap();
            assert_eq!(after(at, None), written);
        }
    }

    #[test]
    fn a_token_is_never_the_one_before() {
        let at = Timestamp::new(1_735_787_045, 7).unwrap();
        let first = after(at, None);
        let second = after(at, Some(&first));
        assert_ne!(first, second);
        assert_eq!(second, "2025-01-02T03:04:05.000000008Z");
        assert_ne!(fresh(None), "");
    }
}
