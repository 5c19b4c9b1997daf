//! Server-side apply: who owns which field (Kubernetes documentation, "Server-Side Apply").

use gitops_core::manifest::Object;
use gitops_core::{ErrorKind, Result};
use serde_json::{Value, json};

use super::{Place, at, by, check, config_map, equal, refused, then};
use crate::cluster::{Patch, WriteParams};

/// What `manager` owns by `operation`; null when nothing.
fn owned<'a>(object: &'a Object, manager: &str, operation: &str) -> &'a Value {
    at(object, "/metadata/managedFields")
        .as_array()
        .into_iter()
        .flatten()
        .find(|entry| entry["manager"] == manager && entry["operation"] == operation)
        .map_or(&Value::Null, |entry| &entry["fieldsV1"])
}

fn service(ports: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"clusterIP": "None", "ports": ports}})
}

fn deployment(container: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "a"}},
            "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [container]}}}})
}

/// An apply makes the object, and its manager owns exactly what it named.
pub async fn an_apply_owns_what_it_names(place: &Place) -> Result<()> {
    let mut value = config_map("a", json!({"x": "1"}));
    value["metadata"]["labels"] = json!({"l": "1"});
    let made = place.apply("m", value).await?;
    equal(
        owned(&made, "m", "Apply"),
        &json!({"f:data": {"f:x": {}}, "f:metadata": {"f:labels": {"f:l": {}}}}),
    )?;
    equal(
        at(&made, "/metadata/managedFields/0/apiVersion"),
        &json!("v1"),
    )?;
    equal(
        at(&made, "/metadata/managedFields/0/fieldsType"),
        &json!("FieldsV1"),
    )
}

/// The same again is no write: the version stays.
pub async fn the_same_apply_again_changes_nothing(place: &Place) -> Result<()> {
    let container = json!({"name": "c", "image": "x", "ports": [{"containerPort": 80}]});
    for value in [
        config_map("a", json!({"x": "1"})),
        service(json!([{"name": "http", "port": 80}])),
        deployment(container),
    ] {
        let first = place.apply("m", value.clone()).await?;
        // Controllers may still be writing status and annotations; our apply must not.
        let before = place
            .there(first.api_version(), first.kind(), first.name())
            .await?;
        let second = place.apply("m", value).await?;
        equal(
            at(&second, "/metadata/generation"),
            at(&first, "/metadata/generation"),
        )?;
        equal(owned(&second, "m", "Apply"), owned(&first, "m", "Apply"))?;
        if first.kind() != "Deployment" {
            equal(second.resource_version(), before.resource_version())?;
        }
    }
    Ok(())
}

/// An apply without a field manager is `InvalidInput`.
pub async fn an_apply_needs_a_manager(place: &Place) -> Result<()> {
    let result = place
        .write(config_map("a", json!({})), &WriteParams::default())
        .await;
    refused(result, ErrorKind::InvalidInput, &["field manager"])
}

/// Another value for a field that somebody else applied is `Conflict`, naming both.
pub async fn a_conflict_names_the_manager_and_the_field(place: &Place) -> Result<()> {
    place
        .apply("first", config_map("a", json!({"x": "1"})))
        .await?;
    let result = place
        .apply("second", config_map("a", json!({"x": "2"})))
        .await;
    refused(result, ErrorKind::Conflict, &["\"first\"", ".data.x"])?;
    equal(
        at(&place.there("v1", "ConfigMap", "a").await?, "/data/x"),
        &json!("1"),
    )
}

/// With force the field changes its value and its owner.
pub async fn force_takes_a_field_over(place: &Place) -> Result<()> {
    place
        .apply("first", config_map("a", json!({"x": "1", "y": "1"})))
        .await?;
    let taken = place
        .force("second", config_map("a", json!({"x": "2"})))
        .await?;
    equal(at(&taken, "/data"), &json!({"x": "2", "y": "1"}))?;
    equal(
        owned(&taken, "first", "Apply"),
        &json!({"f:data": {"f:y": {}}}),
    )?;
    equal(
        owned(&taken, "second", "Apply"),
        &json!({"f:data": {"f:x": {}}}),
    )
}

/// The same value is no conflict: both own it, and it stays until the last lets go.
pub async fn the_same_value_is_shared(place: &Place) -> Result<()> {
    place
        .apply("first", config_map("a", json!({"x": "1"})))
        .await?;
    let shared = place
        .apply("second", config_map("a", json!({"x": "1"})))
        .await?;
    check(
        owned(&shared, "first", "Apply").is_object()
            && owned(&shared, "second", "Apply").is_object(),
        || format!("{shared:?} is not shared"),
    )?;
    let left = place.apply("first", config_map("a", json!({}))).await?;
    equal(at(&left, "/data/x"), &json!("1"))?;
    let last = place.apply("second", config_map("a", json!({}))).await?;
    check(last.pointer("/data/x").is_none(), || {
        "nobody owns it, and it is there".into()
    })
}

/// A field that its only owner no longer applies is removed.
pub async fn what_is_no_longer_applied_goes(place: &Place) -> Result<()> {
    let mut value = config_map("a", json!({"x": "1", "y": "1"}));
    value["metadata"]["annotations"] = json!({"n": "1"});
    place.apply("m", value).await?;
    let left = place.apply("m", config_map("a", json!({"y": "1"}))).await?;
    equal(at(&left, "/data"), &json!({"y": "1"}))?;
    check(left.annotation("n").is_none(), || {
        "the annotation is still there".into()
    })?;
    equal(owned(&left, "m", "Apply"), &json!({"f:data": {"f:y": {}}}))
}

/// What others added is not touched by an apply that does not name it.
pub async fn what_another_manager_owns_stays(place: &Place) -> Result<()> {
    place.apply("m", config_map("a", json!({"x": "1"}))).await?;
    let kind = place.kind("v1", "ConfigMap").await?;
    let patch = Patch::Merge(json!({"data": {"z": "9"}, "metadata": {"labels": {"by": "hand"}}}));
    place
        .cluster
        .patch(place.key(&kind, "a"), &patch, &by("hand"))
        .await?;
    let left = place.apply("m", config_map("a", json!({"x": "2"}))).await?;
    equal(at(&left, "/data"), &json!({"x": "2", "z": "9"}))?;
    equal(left.label("by"), Some("hand"))
}

/// Lists with keys (`listType=map`) are merged entry by entry.
pub async fn entries_of_keyed_lists_have_owners(place: &Place) -> Result<()> {
    place
        .apply(
            "first",
            service(json!([{"name": "http", "port": 80, "protocol": "TCP"}])),
        )
        .await?;
    let both = place
        .apply(
            "second",
            service(json!([{"name": "https", "port": 443, "protocol": "TCP"}])),
        )
        .await?;
    let ports = at(&both, "/spec/ports").as_array().map_or(0, Vec::len);
    equal(ports, 2)?;
    let left = place
        .apply(
            "second",
            service(json!([{"name": "dns", "port": 53, "protocol": "UDP"}])),
        )
        .await?;
    let mut ports: Vec<i64> = at(&left, "/spec/ports")
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|port| port["port"].as_i64())
        .collect();
    ports.sort_unstable();
    equal(ports, [53, 80])?;
    let keyed = owned(&left, "second", "Apply");
    check(
        keyed["f:spec"]["f:ports"]
            .get("k:{\"port\":53,\"protocol\":\"UDP\"}")
            .is_some(),
        || format!("{keyed}"),
    )
}

/// Lists keyed by name too: each manager has its own containers and variables, and names only those.
pub async fn entries_keyed_by_name_are_merged(place: &Place) -> Result<()> {
    let variable = |name: &str| json!({"name": name, "value": "1"});
    let main = |env: Value| json!({"name": "c", "image": "x", "env": env});
    place
        .apply("first", deployment(main(json!([variable("A")]))))
        .await?;
    let mut value = deployment(json!({"name": "c", "env": [variable("B")]}));
    value["spec"]["template"]["spec"]["containers"]
        .as_array_mut()
        .into_iter()
        .for_each(|containers| containers.push(json!({"name": "side", "image": "y"})));
    place.apply("second", value).await?;
    let left = place
        .apply(
            "first",
            deployment(main(json!([variable("A"), variable("C")]))),
        )
        .await?;
    let names = |pointer: &str| {
        let list = at(&left, pointer).as_array().into_iter().flatten();
        let mut names: Vec<_> = list.filter_map(|entry| entry["name"].as_str()).collect();
        names.sort_unstable();
        names.join(" ")
    };
    equal(names("/spec/template/spec/containers").as_str(), "c side")?;
    equal(
        names("/spec/template/spec/containers/0/env").as_str(),
        "A B C",
    )
}

/// Lists without keys are one value with one owner.
pub async fn atomic_lists_have_one_owner(place: &Place) -> Result<()> {
    let container = |args: Value| deployment(json!({"name": "c", "image": "x", "args": args}));
    place.apply("first", container(json!(["1", "2"]))).await?;
    refused(
        place.apply("second", container(json!(["1"]))).await,
        ErrorKind::Conflict,
        &["\"first\"", "args"],
    )?;
    let taken = place.force("second", container(json!(["3"]))).await?;
    equal(
        at(&taken, "/spec/template/spec/containers/0/args"),
        &json!(["3"]),
    )
}

/// Lists that are sets (`listType=set`) hold each manager's values.
pub async fn sets_are_merged(place: &Place) -> Result<()> {
    let with = |finalizers: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "finalizers": finalizers}});
    let steps = async {
        place
            .apply("first", with(json!(["example.com/one"])))
            .await?;
        let both = place
            .apply("second", with(json!(["example.com/two"])))
            .await?;
        equal(
            at(&both, "/metadata/finalizers")
                .as_array()
                .map_or(0, Vec::len),
            2,
        )?;
        let left = place.apply("first", with(json!([]))).await?;
        equal(
            at(&left, "/metadata/finalizers"),
            &json!(["example.com/two"]),
        )
    };
    then(steps, place.release(&place.namespace, "a")).await
}

/// An update or patch owns what it changes, as `Update`, and takes it from who applied it.
pub async fn an_update_owns_what_it_changes(place: &Place) -> Result<()> {
    place
        .apply("m", config_map("a", json!({"x": "1", "y": "1"})))
        .await?;
    let kind = place.kind("v1", "ConfigMap").await?;
    let patch = Patch::Merge(json!({"data": {"x": "2"}}));
    let patched = place
        .cluster
        .patch(place.key(&kind, "a"), &patch, &by("hand"))
        .await?;
    equal(
        owned(&patched, "hand", "Update"),
        &json!({"f:data": {"f:x": {}}}),
    )?;
    equal(
        owned(&patched, "m", "Apply"),
        &json!({"f:data": {"f:y": {}}}),
    )?;
    let result = place
        .apply("m", config_map("a", json!({"x": "1", "y": "1"})))
        .await;
    refused(result, ErrorKind::Conflict, &["\"hand\"", ".data.x"])
}

/// A manager's updates and its applies are two owners, also when they go by one name.
pub async fn updates_and_applies_of_one_name_are_two_owners(place: &Place) -> Result<()> {
    let kind = place.kind("v1", "ConfigMap").await?;
    let object = place.object(config_map("a", json!({"x": "1"})), &kind)?;
    place.cluster.create(&kind, &object, &by("m")).await?;
    let result = place.apply("m", config_map("a", json!({"x": "2"}))).await;
    refused(result, ErrorKind::Conflict, &["\"m\"", ".data.x"])?;
    let shared = place.apply("m", config_map("a", json!({"x": "1"}))).await?;
    check(
        owned(&shared, "m", "Apply").is_object() && owned(&shared, "m", "Update").is_object(),
        || format!("{shared:?} is not shared"),
    )
}

/// A version in what is applied is a condition.
pub async fn an_apply_needs_the_version_it_names(place: &Place) -> Result<()> {
    let at_version = |object: &Object| {
        let mut value = config_map("a", json!({"x": "3"}));
        value["metadata"]["resourceVersion"] = json!(object.resource_version());
        value
    };
    let first = place.apply("m", config_map("a", json!({"x": "1"}))).await?;
    let second = place.apply("m", config_map("a", json!({"x": "2"}))).await?;
    refused(
        place.apply("m", at_version(&first)).await,
        ErrorKind::Conflict,
        &["modified"],
    )?;
    let third = place.apply("m", at_version(&second)).await?;
    equal(at(&third, "/data/x"), &json!("3"))
}

/// A UID stays. Another one is `Conflict` in a replace, where it is a condition, and `InvalidInput` in patches and applies; an apply that
/// names one makes nothing.
pub async fn a_uid_stays(place: &Place) -> Result<()> {
    let other = "11111111-2222-3333-4444-555555555555";
    let naming = |name: &str, uid: &str| {
        let mut value = config_map(name, json!({"x": "2"}));
        value["metadata"]["uid"] = json!(uid);
        value
    };
    let made = place.apply("m", config_map("a", json!({"x": "1"}))).await?;
    let kind = place.kind("v1", "ConfigMap").await?;
    let object = place.object(naming("a", other), &kind)?;
    refused(
        place.cluster.replace(&kind, &object, &by("m")).await,
        ErrorKind::Conflict,
        &["UID"],
    )?;
    let patch = Patch::Merge(json!({"metadata": {"uid": other}}));
    let patched = place
        .cluster
        .patch(place.key(&kind, "a"), &patch, &by("p"))
        .await;
    refused(patched, ErrorKind::InvalidInput, &["metadata.uid"])?;
    refused(
        place.apply("m", naming("a", other)).await,
        ErrorKind::InvalidInput,
        &["metadata.uid"],
    )?;
    let right = place.apply("m", naming("a", made.uid())).await?;
    equal(at(&right, "/data/x"), &json!("2"))?;

    refused(
        place.apply("m", naming("nothing", made.uid())).await,
        ErrorKind::Conflict,
        &["uid"],
    )?;
    check(
        place.get("v1", "ConfigMap", "nothing").await?.is_none(),
        || "it was made".into(),
    )
}

/// Who applies does not say who owns: `managedFields` in what is applied is `InvalidInput`.
pub async fn an_apply_that_names_managed_fields_is_refused(place: &Place) -> Result<()> {
    let made = place.apply("m", config_map("a", json!({"x": "1"}))).await?;
    let mut value = config_map("a", json!({"x": "1"}));
    value["metadata"]["managedFields"] = at(&made, "/metadata/managedFields").clone();
    refused(
        place.apply("m", value).await,
        ErrorKind::InvalidInput,
        &["managedFields"],
    )
}

/// Applies of several managers at the same time all count, where they do not touch each other.
pub async fn applies_at_the_same_time_all_count(place: &Place) -> Result<()> {
    let applies = ["a", "b", "c", "d"]
        .map(|name| async move { place.apply(name, config_map("a", json!({name: "1"}))).await });
    futures::future::try_join_all(applies).await?;
    let live = place.there("v1", "ConfigMap", "a").await?;
    equal(
        at(&live, "/data"),
        &json!({"a": "1", "b": "1", "c": "1", "d": "1"}),
    )
}

/// A dry run answers what would be, and nothing is.
pub async fn a_dry_run_changes_nothing(place: &Place) -> Result<()> {
    let dry = |manager: &str| WriteParams {
        dry_run: true,
        ..by(manager)
    };
    let would = place
        .write(config_map("new", json!({"x": "1"})), &dry("m"))
        .await?;
    check(!would.uid().is_empty(), || "no UID".into())?;
    check(place.get("v1", "ConfigMap", "new").await?.is_none(), || {
        "it was made".into()
    })?;

    let made = place.apply("m", config_map("a", json!({"x": "1"}))).await?;
    let would = place
        .write(config_map("a", json!({"x": "2"})), &dry("m"))
        .await?;
    equal(at(&would, "/data/x"), &json!("2"))?;
    let result = place
        .write(config_map("a", json!({"x": "2"})), &dry("other"))
        .await;
    refused(result, ErrorKind::Conflict, &["\"m\""])?;
    let kind = place.kind("v1", "ConfigMap").await?;
    let patch = Patch::Merge(json!({"data": {"x": "3"}}));
    let would = place
        .cluster
        .patch(place.key(&kind, "a"), &patch, &dry("p"))
        .await?;
    equal(at(&would, "/data/x"), &json!("3"))?;
    let object = place.object(config_map("a", json!({"x": "4"})), &kind)?;
    let would = place.cluster.replace(&kind, &object, &dry("p")).await?;
    equal(at(&would, "/data/x"), &json!("4"))?;
    let result = place.cluster.create(&kind, &object, &dry("p")).await;
    refused(result, ErrorKind::AlreadyExists, &["a"])?;
    equal(
        place
            .there("v1", "ConfigMap", "a")
            .await?
            .resource_version(),
        made.resource_version(),
    )
}
