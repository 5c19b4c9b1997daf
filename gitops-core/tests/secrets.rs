//! What an application holds for its renderers is not printed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use gitops_core::application::{Application, Render, Source};
use serde_json::json;

#[test]
fn values_of_renderers_are_not_in_debug() {
    let canary = "canary-4711";
    let helm = json!({
        "values": format!("password: {canary}"), "valuesObject": {"password": canary},
        "parameters": [{"name": "password", "value": canary}],
    });
    let plugin = json!({
        "name": "p", "env": [{"name": "TOKEN", "value": canary}],
        "parameters": [{"name": "a", "string": canary, "array": [canary], "map": {"k": canary}}],
    });
    for render in [
        Render::Helm(serde_json::from_value(helm).unwrap()),
        Render::Plugin(serde_json::from_value(plugin).unwrap()),
    ] {
        let source = Source {
            render,
            ..Source::git("https://git.example.com/x.git")
        };
        let app = Application::new("app").source(source);
        assert!(serde_json::to_string(&app).unwrap().contains(canary));
        let shown = format!("{app:?} {app:#?}");
        assert!(!shown.contains(canary), "{shown}");
        assert!(
            shown.contains("password") || shown.contains("TOKEN"),
            "{shown}"
        );
    }
}
