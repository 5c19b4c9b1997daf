//! How a reconciler works.

use std::time::Duration;

use crate::application::Backoff;
use crate::backend::Selector;

/// How a [`Reconciler`](super::Reconciler) works.
#[derive(Clone, Debug, PartialEq)]
pub struct ReconcilerOptions {
    /// Who asks for its syncs, in operations, history and audit log; `gitops-reconciler` unless set.
    pub name: String,
    /// Which applications; all unless set.
    pub selector: Selector,
    /// Every application is looked at at least this often, whatever triggers miss; 3 minutes unless set (Argo CD's `timeout.reconciliation` is 120 s and a jitter of up
    /// to 60 s). The list of applications is read as often.
    pub interval: Duration,
    /// The share of the interval by which each is made longer at random, so that not all come at once; 0.1 unless set.
    pub jitter: f64,
    /// How many applications are looked at at once, waiting for a limiter and syncing not counted; 32 unless set, and at least 1.
    pub looks: usize,
    /// What comes before a sync (reading revisions and states, rules, rendering, validators) takes at most this long; 5 minutes unless set.
    pub look_timeout: Duration,
    /// The pauses after looks and syncs that failed or were refused, and between syncs to one and the same revision (which repair drift that comes again and
    /// again): Argo CD's 5 s, factor 2, at most 3 minutes unless set.
    pub backoff: Backoff,
    /// A sync that takes longer is terminated; `None`, the default, leaves it to the backend.
    pub sync_timeout: Option<Duration>,
    /// When it is shut down, syncs that run may take this long to end, then they are terminated; 30 s unless set.
    pub shutdown_grace: Duration,
    /// How long a sync that must end is waited for, its start and its termination together; 3 s unless set. It must be shorter than the
    /// [`margin`](super::Ownership::margin) between losing an application and another's getting it (4 s with the default Leases).
    pub terminate_grace: Duration,
}

impl Default for ReconcilerOptions {
    fn default() -> Self {
        Self {
            name: "gitops-reconciler".into(),
            selector: Selector::all(),
            interval: Duration::from_secs(180),
            jitter: 0.1,
            looks: 32,
            look_timeout: Duration::from_secs(300),
            backoff: Backoff::default(),
            sync_timeout: None,
            shutdown_grace: Duration::from_secs(30),
            terminate_grace: Duration::from_secs(3),
        }
    }
}

impl ReconcilerOptions {
    /// The pause after so many failures in a row; none after none.
    pub(super) fn pause_after(&self, failures: u32) -> Duration {
        let Some(exponent) = failures.checked_sub(1) else {
            return Duration::ZERO;
        };
        let factor = self.backoff.factor.max(1).saturating_pow(exponent);
        self.backoff
            .duration
            .saturating_mul(factor)
            .min(self.backoff.max_duration)
    }

    /// The next interval, a little longer at random.
    pub(super) fn next_interval(&self) -> Duration {
        let share = if self.jitter.is_nan() {
            0.0
        } else {
            self.jitter.clamp(0.0, 1.0)
        };
        // Timers do not reach further than some years.
        let interval = self.interval.clamp(
            Duration::from_millis(1),
            Duration::from_secs(365 * 24 * 3600),
        );
        interval + interval.mul_f64(share * fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest() {
        let options = ReconcilerOptions::default();
        let seconds = |failures| options.pause_after(failures).as_secs();
        assert_eq!(
            [0, 1, 2, 3, 6, 7, 1000, u32::MAX].map(seconds),
            [0, 5, 10, 20, 160, 180, 180, 180]
        );
        let mut options = ReconcilerOptions {
            interval: Duration::MAX,
            jitter: f64::NAN,
            ..ReconcilerOptions::default()
        };
        assert!(options.next_interval() <= Duration::from_secs(365 * 24 * 3600));
        options.interval = Duration::ZERO;
        assert!(options.next_interval() > Duration::ZERO);
    }
}
