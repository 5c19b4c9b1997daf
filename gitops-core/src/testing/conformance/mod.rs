//! The contracts of the traits, as tests for implementations.
//!
//! Each suite is a macro that makes a `#[tokio::test]` of every case; it needs tokio with its macros and `rt-multi-thread`. A case makes its own applications.
//!
//! ```
//! use std::sync::Arc;
//! use gitops_core::store::MemoryStore;
//!
//! async fn make() -> gitops_core::Result<Arc<MemoryStore>> {
//!     Ok(Arc::new(MemoryStore::new()))
//! }
//!
//! mod conformance {
//!     gitops_core::store_conformance!(super::make());
//! }
//! ```

pub mod backend;
pub mod store;

use std::fmt::Debug;

use crate::error::{Error, ErrorKind, Result};

fn check(condition: bool, seen: impl FnOnce() -> String) -> Result<()> {
    if condition {
        Ok(())
    } else {
        Err(Error::failed(seen()))
    }
}

fn equal<T: PartialEq<U> + Debug, U: Debug>(seen: T, expected: U) -> Result<()> {
    check(seen == expected, || {
        format!("{seen:?}, expected {expected:?}")
    })
}

fn refused<T: Debug>(result: Result<T>, kind: ErrorKind) -> Result<()> {
    match result {
        Ok(answer) => Err(Error::failed(format!("it was not refused: {answer:?}"))),
        Err(error) => check(error.kind() == kind, || {
            format!("{:?}, expected {kind:?}: {error}", error.kind())
        }),
    }
}

/// Makes a test of every case of [`store`]: `store_conformance!(make())`, where `make()` is a future that gives a `Result<Arc<S>, _>` of an empty store.
///
/// A store whose records somebody else can spoil implements [`Damage`](store::Damage) in its tests: `store_conformance!(make(), damage)` makes the
/// cases about those too.
#[macro_export]
macro_rules! store_conformance {
    ($make:expr, damage) => {
        $crate::store_conformance!($make);
        $crate::store_conformance!(@ $make;
            a_list_says_what_it_cannot_read, what_cannot_be_read_can_be_replaced, what_cannot_be_read_can_be_deleted,
            a_status_that_cannot_be_read_is_an_error_until_it_is_replaced
        );
    };
    ($make:expr) => {
        $crate::store_conformance!(@ $make;
            what_is_put_is_got, create_takes_the_same_again_and_nothing_else, upsert_replaces, an_update_needs_the_version_that_is_there, an_update_of_nothing_is_not_found,
            versions_are_of_states, what_is_not_there_is_not_found, lists_are_ordered_and_selected, a_deletion_takes_the_status_along, a_cascade_is_refused,
            suspending_twice_is_fine, a_status_is_kept, a_status_of_nothing_is_not_found, a_status_does_not_change_the_version, odd_names_are_kept_or_refused,
            one_of_many_creations_wins, no_update_is_lost, everything_of_an_application_is_kept
        );
    };
    (@ $make:expr; $($name:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let store = $make.await.expect("a store");
                if let Err(error) = $crate::testing::conformance::store::$name(store).await {
                    panic!("{error:#}");
                }
            }
        )*
    };
}

/// Makes a test of every case of [`backend`]: `backend_conformance!(make())`, where `make()` is a future that gives a
/// `Result<`[`Fixture`](backend::Fixture)`, _>`.
#[macro_export]
macro_rules! backend_conformance {
    ($make:expr) => {
        $crate::backend_conformance!(@ $make;
            a_sync_names_its_operation_and_the_revision, an_unknown_application_is_not_found, an_unknown_operation_is_not_found, a_second_sync_at_once_is_refused,
            a_failed_sync_is_an_outcome, every_wait_gets_the_same_outcome, a_dropped_wait_leaves_the_operation, a_dry_run_changes_nothing,
            terminating_what_ended_is_fine, a_watch_tells_the_state_and_its_changes, a_watch_tells_deletions, the_history_grows_and_leads_back,
            the_state_holds_each_resource_once
        );
    };
    (@ $make:expr; $($name:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let fixture = $make.await.expect("a fixture");
                if let Err(error) = $crate::testing::conformance::backend::$name(&fixture).await {
                    panic!("{error:#}");
                }
            }
        )*
    };
}
