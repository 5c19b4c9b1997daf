//! How many of Flux's objects run, fail and are suspended, and what their artifacts take: `flux stats` of flux 2.7.

use std::fmt;

use futures::StreamExt as _;
use gitops_core::manifest::Object;
use gitops_core::{ErrorKind, Result};
use gitops_kube::cluster::{Cluster, ListParams};
use serde_json::Value;

use crate::kind::FluxKind;
use crate::manager::FluxManager;
use crate::view;

/// The numbers of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindStats {
    /// The kind.
    pub kind: FluxKind,
    /// Whether the cluster has the kind; without it all numbers are 0.
    pub installed: bool,
    /// How many there are that are not suspended, failing ones included.
    pub running: usize,
    /// How many have Ready=False, suspended ones included.
    pub failing: usize,
    /// How many are suspended.
    pub suspended: usize,
    /// The bytes of their artifacts.
    pub storage: u64,
}

/// The numbers of all kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Each kind, in the order of [`FluxKind::ALL`].
    pub kinds: Vec<KindStats>,
}

impl Stats {
    /// The numbers of a kind.
    pub fn of(&self, kind: FluxKind) -> Option<&KindStats> {
        self.kinds.iter().find(|stats| stats.kind == kind)
    }
}

impl fmt::Display for Stats {
    /// The table of `flux stats`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<24}{:<9}{:<9}{:<11}STORAGE",
            "RECONCILERS", "RUNNING", "FAILING", "SUSPENDED"
        )?;
        for kind in &self.kinds {
            let storage = size(kind.storage);
            writeln!(
                f,
                "{:<24}{:<9}{:<9}{:<11}{storage}",
                kind.kind.kind(),
                kind.running,
                kind.failing,
                kind.suspended
            )?;
        }
        Ok(())
    }
}

fn size(bytes: u64) -> String {
    if bytes == 0 {
        return "-".to_owned();
    }
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut unit, mut units) = (1024_u64, "KMGTPE".chars());
    let mut name = units.next().unwrap_or_default();
    while bytes / unit >= 1024 {
        unit *= 1024;
        name = units.next().unwrap_or(name);
    }
    // One digit after the point is all that is shown.
    #[allow(clippy::cast_precision_loss)]
    let value = bytes as f64 / unit as f64;
    format!("{value:.1} {name}iB")
}

/// Counts Flux's objects, of one namespace or of all with `None`. One list per kind, four at once, in pages of 500.
///
/// # Errors
/// What a list meets, `PermissionDenied` included: a number that leaves something out would be wrong. A kind that is not installed has zeros.
pub async fn stats(cluster: &dyn Cluster, namespace: Option<&str>) -> Result<Stats> {
    let counted: Vec<Result<KindStats>> = futures::stream::iter(FluxKind::ALL)
        .map(|kind| async move { count(cluster, kind, namespace).await })
        .buffered(4)
        .collect()
        .await;
    Ok(Stats {
        kinds: counted.into_iter().collect::<Result<_>>()?,
    })
}

impl FluxManager {
    /// How many objects run, fail and are suspended: [`stats`] of one namespace (an empty one means the manager's own), or of all with `None`.
    ///
    /// # Errors
    /// As there.
    pub async fn stats(&self, namespace: Option<&str>) -> Result<Stats> {
        let namespace = namespace.map(|name| self.namespace_or_own(name));
        stats(self.cluster(), namespace).await
    }
}

async fn count(
    cluster: &dyn Cluster,
    kind: FluxKind,
    namespace: Option<&str>,
) -> Result<KindStats> {
    let params = ListParams {
        namespace: namespace.map(str::to_owned),
        ..ListParams::default()
    };
    let served = view::served(kind);
    let counted = view::fold(cluster, &served, params, |numbers: &mut Numbers, page| {
        page.iter().for_each(|object| numbers.add(object));
        Ok(())
    });
    let (installed, numbers) = match counted.await {
        Ok(numbers) => (true, numbers),
        Err(error) if error.kind() == ErrorKind::NotFound => (false, Numbers::default()),
        Err(error) => return Err(error.context(format!("list {}", kind.plural()))),
    };
    Ok(KindStats {
        kind,
        installed,
        running: numbers.running,
        failing: numbers.failing,
        suspended: numbers.suspended,
        storage: numbers.storage,
    })
}

/// What is counted of a kind.
#[derive(Default)]
struct Numbers {
    running: usize,
    failing: usize,
    suspended: usize,
    storage: u64,
}

impl Numbers {
    fn add(&mut self, object: &Object) {
        if view::suspended(object) {
            self.suspended += 1;
        } else {
            self.running += 1;
        }
        if view::condition(object, "Ready").is_some_and(|ready| ready.is == Some(false)) {
            self.failing += 1;
        }
        let size = view::at(object, &["status", "artifact", "size"]).and_then(Value::as_u64);
        self.storage = self.storage.saturating_add(size.unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_flux_writes_them() {
        for (bytes, text) in [
            (0, "-"),
            (1, "1 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1 << 20, "1.0 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
