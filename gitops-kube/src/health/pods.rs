//! stub
use gitops_core::application::Health;
use gitops_core::manifest::Object;
/// s
pub fn selector(_: &Object) -> Option<String> {
    None
}
/// e
pub fn explain(_: &Object, _: &[Object]) -> Option<Health> {
    None
}
