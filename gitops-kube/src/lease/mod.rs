//! Several replicas share applications through Kubernetes Leases.
//!
//! Applications are divided into a fixed number of shards by a hash of their names. Each shard has a Lease (`coordination.k8s.io/v1`), and who holds the Lease takes care of
//! its applications, by the rules of client-go's leader election (`k8s.io/client-go/tools/leaderelection`, v0.34): a holder writes its Lease every
//! [`retry_period`](LeaseOptions::retry_period); one that could not for [`renew_deadline`](LeaseOptions::renew_deadline) has lost it; others take a Lease that they have
//! not seen change for its `leaseDurationSeconds`, counted on their own clock, so that clocks need not agree. Every write names the version that it replaces. Unlike there,
//! [`lease_duration`](LeaseOptions::lease_duration) includes the time until the others have seen the last write, so that it is how long an application is alone at most.
//!
//! Each replica also keeps a Lease of its own, which tells the others that it lives: with `m` of them none holds more than `shards / m` shards, rounded up. Who holds more
//! gives the surplus back: first it declares the right lost, then it waits as long as work may need to stop, and then it lets the Lease go.
//!
//! Replicas that divide the applications into different numbers of shards would own some of them together. Each Lease names the number, and while any that is held names another one,
//! a replica holds nothing: a change of [`shards`](LeaseOptions::shards) takes effect when the last replica with the old number has ended.
//!
//! # News
//! What a replica hears of applications of others (a webhook that reached it) it hands on in the Lease that tells that it lives, at no more requests. The owner reads it within two
//! [`retry_period`](LeaseOptions::retry_period)s and a little more. So webhooks may be sent to one address that any replica answers; what is lost (more than 32 pieces of news within a
//! lease duration, a replica that ends before it wrote them) is found at the interval.
//!
//! # What cannot be fenced
//! A request that is on its way to the cluster when the right is lost still arrives. The engine's own preconditions (versions of inventories, field managers, UIDs) guard against
//! what such a request could destroy. A process that was stopped for a while (`SIGSTOP`, a busy machine) finds its right over by the clock before it begins anything; that of a machine that was
//! suspended may have stood still as well, and its first look at the Leases tells.
//!
//! # Rights
//! `list`, `create`, `update` and `delete` on `leases` of `coordination.k8s.io` in the namespace.

mod news;
mod options;
mod ownership;
mod record;
mod shared;

pub use self::options::LeaseOptions;
pub use self::ownership::LeaseOwnership;
