//! Annotations that Argo CD reads or writes. The constants' names are those of the keys.

// Of resources.

/// The wave in which it is synced: a whole number, 0 by default.
pub const SYNC_WAVE: &str = "argocd.argoproj.io/sync-wave";
/// When it runs as a hook: [`HookType`](super::HookType)s.
pub const HOOK: &str = "argocd.argoproj.io/hook";
/// When a hook is deleted: [`HookDeletePolicy`](super::HookDeletePolicy)s.
pub const HOOK_DELETE_POLICY: &str = "argocd.argoproj.io/hook-delete-policy";
/// How it is synced: [`SyncOption`](super::SyncOption)s.
pub const SYNC_OPTIONS: &str = "argocd.argoproj.io/sync-options";
/// How it is compared: [`CompareOption`](super::CompareOption)s.
pub const COMPARE_OPTIONS: &str = "argocd.argoproj.io/compare-options";
/// `true`: its health does not count for the application.
pub const IGNORE_HEALTHCHECK: &str = "argocd.argoproj.io/ignore-healthcheck";
/// `true`: changes of its ignored fields do not make the controller look at the application.
pub const IGNORE_RESOURCE_UPDATES: &str = "argocd.argoproj.io/ignore-resource-updates";
/// The application that it belongs to. Written by Argo CD.
pub const TRACKING_ID: &str = "argocd.argoproj.io/tracking-id";
/// The Argo CD that it belongs to, where several share a cluster. Written by Argo CD.
pub const INSTALLATION_ID: &str = "argocd.argoproj.io/installation-id";
/// The beginning of keys whose values are links to show (`https://…`, or `title|https://…`).
pub const LINK_PREFIX: &str = "link.argocd.argoproj.io/";

// Of applications.

/// `normal`, or `hard` (without caches): compare it soon. Argo CD removes it when it has begun.
pub const REFRESH: &str = "argocd.argoproj.io/refresh";
/// `normal`: render it to Git soon. Argo CD removes it when it has begun.
pub const HYDRATE: &str = "argocd.argoproj.io/hydrate";
/// The paths whose changes matter to it, with `;` between.
pub const MANIFEST_GENERATE_PATHS: &str = "argocd.argoproj.io/manifest-generate-paths";
/// When somebody approved what must be confirmed: a [`DeletionApproval`](super::DeletionApproval).
pub const DELETION_APPROVED: &str = "argocd.argoproj.io/deletion-approved";
/// `true`: the controller leaves it alone.
pub const SKIP_RECONCILE: &str = "argocd.argoproj.io/skip-reconcile";
/// The field manager whose fields the first apply on the server takes over.
pub const CLIENT_SIDE_APPLY_MIGRATION_MANAGER: &str =
    "argocd.argoproj.io/client-side-apply-migration-manager";
/// The view that the UI opens it in: `tree`, `pods`, `network`, `list`.
pub const DEFAULT_VIEW: &str = "pref.argocd.argoproj.io/default-view";
/// How the UI groups its pods.
pub const DEFAULT_POD_SORT: &str = "pref.argocd.argoproj.io/default-pod-sort";

// Of application sets.

/// `true`: make its parameters anew soon. Argo CD removes it when it has.
pub const APPLICATION_SET_REFRESH: &str = "argocd.argoproj.io/application-set-refresh";
