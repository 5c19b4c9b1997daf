//! How Leases are kept.

use std::time::Duration;

use gitops_core::application::AppRef;
use gitops_core::{Error, Result};
use sha2::{Digest, Sha256};

/// How a [`LeaseOwnership`](super::LeaseOwnership) keeps its Leases.
#[derive(Clone, Debug, PartialEq)]
pub struct LeaseOptions {
    /// The namespace of the Leases; `default` unless set.
    pub namespace: String,
    /// What the names of the Leases begin with: replicas with the same name share their work. `gitops` unless set.
    pub name: String,
    /// Who this replica is, in `holderIdentity`; must differ from every other one's, now and after a restart. Unless set it is the host's name (in a pod, the pod's) and a
    /// random number.
    pub identity: String,
    /// Into how many parts the applications are divided; 16 unless set. More than replicas are of no use, and each costs a write every
    /// [`retry_period`](Self::retry_period). All replicas must name the same number: while replicas live that name different ones, none of them owns anything.
    pub shards: u32,
    /// So long after a replica wrote its Leases last, their applications are another's at the latest; 15 s unless set (client-go's default).
    ///
    /// `leaseDurationSeconds` is shorter by one and a half [`retry_period`](Self::retry_period), in whole seconds: the others count from when they have seen the write.
    pub lease_duration: Duration,
    /// Who could not write its Lease for so long has lost it; 8 s unless set. What it was doing must stop between this and `leaseDurationSeconds`.
    pub renew_deadline: Duration,
    /// The time between two looks at the Leases, made longer by up to a fifth at random, shorter when a Lease runs out before; 2 s unless set (client-go's default).
    pub retry_period: Duration,
}

impl Default for LeaseOptions {
    fn default() -> Self {
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "replica".into());
        Self {
            namespace: "default".into(),
            name: "gitops".into(),
            identity: format!("{host}_{:016x}", fastrand::u64(..)),
            shards: 16,
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(8),
            retry_period: Duration::from_secs(2),
        }
    }
}

impl LeaseOptions {
    /// The shard that `app` belongs to, from 0; the same in every replica and every version of this crate.
    pub fn shard_of(&self, app: &AppRef) -> u32 {
        let digest = Sha256::digest(format!("{}/{}", app.namespace, app.name));
        let first = digest.iter().take(4);
        let number = first.fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        number % self.shards.max(1)
    }

    /// As client-go checks them.
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |what: &str| Err(Error::invalid(format!("leases: {what}")));
        if self.shards == 0 || self.shards > 4096 {
            return wrong("there must be 1 to 4096 shards");
        }
        if self.identity.is_empty() || self.name.is_empty() || self.namespace.is_empty() {
            return wrong("identity, name and namespace must not be empty");
        }
        if self.written().is_zero() {
            return wrong("the lease duration must be 1.5 retry periods and a second, or more");
        }
        if self.written() <= self.renew_deadline {
            return wrong(
                "the lease duration, less 1.5 retry periods, in whole seconds, must be longer than the renew deadline",
            );
        }
        if self.retry_period.is_zero() || self.renew_deadline <= self.retry_period.mul_f64(1.2) {
            return wrong("the renew deadline must be longer than 1.2 retry periods");
        }
        Ok(())
    }

    /// For how long a Lease holds after another has seen it written: `leaseDurationSeconds`.
    pub(super) fn written(&self) -> Duration {
        let held = self
            .lease_duration
            .saturating_sub(self.retry_period.mul_f64(1.5));
        Duration::from_secs(held.as_secs())
    }

    /// The time between losing a Lease and another's taking it: what runs must stop in it. The reconciler's `terminate_grace` must be shorter.
    pub fn margin(&self) -> Duration {
        self.written().saturating_sub(self.renew_deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_must_fit() {
        let good = LeaseOptions::default();
        good.check().unwrap();
        assert_ne!(good.identity, LeaseOptions::default().identity);
        let seconds = Duration::from_secs;
        for bad in [
            LeaseOptions {
                shards: 0,
                ..good.clone()
            },
            LeaseOptions {
                identity: String::new(),
                ..good.clone()
            },
            LeaseOptions {
                lease_duration: seconds(10),
                ..good.clone()
            },
            LeaseOptions {
                renew_deadline: seconds(2),
                ..good.clone()
            },
            LeaseOptions {
                retry_period: Duration::ZERO,
                ..good.clone()
            },
        ] {
            bad.check().unwrap_err();
        }
    }
}
