use serde_json::json;

use super::*;

#[test]
fn other_kinds() {
    let ready = [("Ready", "True", "Succeeded", 1, "")];
    let rows: Vec<Row> = vec![
        ("nobody reconciles it", "Alert", json!(null), None, "done"),
        ("nor a provider", "Provider", json!({}), None, "done"),
        (
            "a receiver",
            "Receiver",
            handled(&ready, json!({})),
            None,
            "done",
        ),
        (
            "an image policy",
            "ImagePolicy",
            handled(&ready, json!({"latestRef": {"name": "x", "tag": "1.2"}})),
            None,
            "done 1.2",
        ),
    ];
    hold(rows);
}
