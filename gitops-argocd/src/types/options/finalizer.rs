//! Finalizers that Argo CD knows.

/// Of an application: its resources are deleted with it, in the foreground.
pub const RESOURCES: &str = "resources-finalizer.argocd.argoproj.io";
/// The same, said out loud.
pub const RESOURCES_FOREGROUND: &str = "resources-finalizer.argocd.argoproj.io/foreground";
/// Of an application: its resources are deleted with it, in the background.
pub const RESOURCES_BACKGROUND: &str = "resources-finalizer.argocd.argoproj.io/background";
/// Of an application: its `PostDelete` hooks run before it is gone. Written by Argo CD.
pub const POST_DELETE: &str = "post-delete-finalizer.argocd.argoproj.io";
/// Of an application: its `PostDelete` hooks are deleted before it is gone. Written by Argo CD.
pub const POST_DELETE_CLEANUP: &str = "post-delete-finalizer.argocd.argoproj.io/cleanup";
/// Of a hook: it stays until its phase of the sync is over. Written by Argo CD.
pub const HOOK: &str = "argocd.argoproj.io/hook-finalizer";
