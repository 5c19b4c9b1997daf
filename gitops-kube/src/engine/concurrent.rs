//! Many requests, a few at once.

use futures::StreamExt;
use futures::future::BoxFuture;

/// Runs all `work`, at most `limit` at once; the results come as they end.
///
/// The work is boxed: a stream that borrows through its closures is not `Send` for every lifetime, as spawning demands.
pub(super) async fn run<T>(limit: usize, work: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    futures::stream::iter(work)
        .buffer_unordered(limit.max(1))
        .collect()
        .await
}
