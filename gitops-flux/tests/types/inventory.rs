use gitops_core::manifest::ObjectId;
use gitops_flux::types::{Inventory, InventoryEntry};
use proptest::prelude::*;
use serde_json::json;

#[test]
fn entries_are_read_as_cli_utils_reads_them() {
    let inventory: Inventory = serde_json::from_value(json!({"entries": [
        {"id": "apps_podinfo_apps_Deployment", "v": "v1"},
        {"id": "apps_podinfo__Service", "v": "v1"},
        {"id": "_apps__Namespace", "v": "v1"},
        {"id": "_system__node-reader_rbac.authorization.k8s.io_ClusterRole", "v": "v1"},
        {"id": "broken", "v": "v1"},
        {"id": "a_b_c", "v": "v1"},
        {"id": "ns_a_b_c_d", "v": "v1"},
    ]}))
    .unwrap();
    let read: Vec<_> = inventory
        .ids()
        .map(|id| id.ok().map(|(id, version)| (id, version.to_owned())))
        .collect();
    let id = |group: &str, kind: &str, namespace: &str, name: &str| {
        Some((ObjectId::new(group, kind, namespace, name), "v1".to_owned()))
    };
    let rbac = "rbac.authorization.k8s.io";
    assert_eq!(
        read,
        [
            id("apps", "Deployment", "apps", "podinfo"),
            id("", "Service", "apps", "podinfo"),
            id("", "Namespace", "", "apps"),
            id(rbac, "ClusterRole", "", "system:node-reader"),
            None,
            None,
            None,
        ]
    );
    let versions: Vec<_> = inventory
        .entries
        .iter()
        .filter_map(|entry| entry.api_version().ok())
        .collect();
    assert_eq!(
        versions,
        ["apps/v1", "v1", "v1", "rbac.authorization.k8s.io/v1"]
    );
}

fn name() -> impl Strategy<Value = String> {
    "[a-z0-9]([-a-z0-9.]{0,20}[a-z0-9])?"
}

proptest! {
    #[test]
    fn an_entry_is_read_as_it_was_written(
        namespace in prop_oneof![Just(String::new()), name()],
        name in name(),
        group in prop_oneof![Just(String::new()), name()],
        kind in "[A-Z][A-Za-z]{1,20}",
    ) {
        let id = ObjectId::new(group, kind, namespace, name);
        let entry = InventoryEntry::new(&id, "v1");
        prop_assert_eq!(entry.object_id().unwrap(), id);
    }

    #[test]
    fn a_colon_in_the_name_of_a_role_comes_back(parts in prop::collection::vec("[a-z]([-a-z]{0,5}[a-z])?", 1..4)) {
        for kind in ["Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"] {
            let id = ObjectId::new("rbac.authorization.k8s.io", kind, "", parts.join(":"));
            let entry = InventoryEntry::new(&id, "v1");
            prop_assert!(!entry.id.contains(':'));
            prop_assert_eq!(entry.object_id().unwrap(), id);
        }
    }

    #[test]
    fn no_entry_panics(id in "\\PC{0,40}|[_a-z]{0,20}") {
        let entry = InventoryEntry { id, version: "v1".into() };
        let _ = entry.api_version();
        if let Ok(id) = entry.object_id() {
            prop_assert!(!id.name.contains('_'));
        }
    }
}
