//! Reading and writing single objects, and lists of them.

use gitops_core::manifest::{GroupKind, GroupVersionKind};
use gitops_core::{Error, ErrorKind, Result};
use serde_json::{Value, json};

use super::{Place, at, by, check, config_map, equal, refused};
use crate::cluster::{ApiKind, FieldValidation, ListParams, Patch, Scope, WriteParams};

/// Built-in kinds have a plural, a scope and verbs.
pub async fn kinds_are_resolved_with_their_scope(place: &Place) -> Result<()> {
    let deployment = place.kind("apps/v1", "Deployment").await?;
    equal(deployment.plural.as_str(), "deployments")?;
    equal(deployment.scope, Scope::Namespaced)?;
    check(deployment.verbs.iter().any(|verb| verb == "patch"), || {
        format!("{:?}", deployment.verbs)
    })?;
    let namespace = place.kind("v1", "Namespace").await?;
    equal(namespace.scope, Scope::Cluster)?;
    let policy = place
        .cluster
        .resolve_any(&GroupKind::new("networking.k8s.io", "NetworkPolicy"))
        .await?;
    equal(policy.plural.as_str(), "networkpolicies")?;
    equal(policy.gvk.version.as_str(), "v1")
}

/// Kinds and versions that are not served are `NotFound`, naming the kind.
pub async fn an_unknown_kind_is_not_found(place: &Place) -> Result<()> {
    let nothing = GroupVersionKind::new("nothing.example.com", "v1", "Nothing");
    refused(
        place.cluster.resolve(&nothing).await,
        ErrorKind::NotFound,
        &["Nothing"],
    )?;
    let version = GroupVersionKind::new("apps", "v1beta1", "Deployment");
    refused(
        place.cluster.resolve(&version).await,
        ErrorKind::NotFound,
        &["Deployment"],
    )?;
    let nothing = GroupKind::new("nothing.example.com", "Nothing");
    refused(
        place.cluster.resolve_any(&nothing).await,
        ErrorKind::NotFound,
        &["Nothing"],
    )
}

/// Requests for a kind that the server does not serve (any more) are `NotFound`, whoever made up the [`ApiKind`].
pub async fn a_kind_that_is_not_served_is_not_found(place: &Place) -> Result<()> {
    let kind = ApiKind {
        gvk: GroupVersionKind::new("nothing.example.com", "v1", "Nothing"),
        plural: "nothings".into(),
        scope: Scope::Namespaced,
        verbs: vec!["list".into(), "patch".into()],
    };
    let object = place.object(
        json!({"apiVersion": "nothing.example.com/v1", "kind": "Nothing", "metadata": {"name": "a"}}),
        &kind,
    )?;
    refused(
        place.cluster.list(&kind, &ListParams::default()).await,
        ErrorKind::NotFound,
        &[],
    )?;
    refused(
        place.cluster.apply(&kind, &object, &by("m")).await,
        ErrorKind::NotFound,
        &[],
    )?;
    refused(
        place.cluster.create(&kind, &object, &by("m")).await,
        ErrorKind::NotFound,
        &[],
    )
}

/// `create` makes an object with UID, version and time, once.
pub async fn an_object_is_created_once(place: &Place) -> Result<()> {
    let kind = place.kind("v1", "ConfigMap").await?;
    let object = place.object(config_map("a", json!({"k": "v"})), &kind)?;
    let made = place.cluster.create(&kind, &object, &by("maker")).await?;
    check(
        !made.uid().is_empty() && !made.resource_version().is_empty(),
        || "no UID or version".into(),
    )?;
    check(at(&made, "/metadata/creationTimestamp").is_string(), || {
        "no time".into()
    })?;
    equal(
        at(&made, "/metadata/managedFields/0/manager"),
        &json!("maker"),
    )?;
    equal(
        at(&made, "/metadata/managedFields/0/operation"),
        &json!("Update"),
    )?;
    let again = place.cluster.create(&kind, &object, &by("maker")).await;
    refused(again, ErrorKind::AlreadyExists, &["a"])
}

/// A namespace must be there.
pub async fn an_unnamed_namespace_is_not_found(place: &Place) -> Result<()> {
    let mut value = config_map("a", json!({}));
    value["metadata"]["namespace"] = json!(format!("{}-not-there", place.namespace));
    refused(
        place.apply("m", value).await,
        ErrorKind::NotFound,
        &["namespaces", "not-there"],
    )
}

/// `get` of what is not there is `None`.
pub async fn what_is_not_there_is_none(place: &Place) -> Result<()> {
    check(
        place.get("v1", "ConfigMap", "nothing").await?.is_none(),
        || "something is there".into(),
    )
}

/// What the kind's rules forbid is `InvalidInput`, naming the field.
pub async fn an_invalid_object_is_refused(place: &Place) -> Result<()> {
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"app": "a"}}, "template": {"metadata": {"labels": {"app": "b"}},
            "spec": {"containers": [{"name": "c", "image": "x"}]}}}});
    refused(
        place.apply("m", deployment).await,
        ErrorKind::InvalidInput,
        &["spec.template.metadata.labels"],
    )
}

/// A field that the kind does not have is `InvalidInput`: an apply always refuses it, a create when it is strict.
pub async fn an_unknown_field_is_refused(place: &Place) -> Result<()> {
    let mut value = config_map("a", json!({}));
    value["daata"] = json!({"k": "v"});
    refused(
        place.apply("m", value.clone()).await,
        ErrorKind::InvalidInput,
        &["daata"],
    )?;
    let kind = place.kind("v1", "ConfigMap").await?;
    let strict = WriteParams {
        validation: Some(FieldValidation::Strict),
        ..by("m")
    };
    let object = place.object(value, &kind)?;
    refused(
        place.cluster.create(&kind, &object, &strict).await,
        ErrorKind::InvalidInput,
        &["daata"],
    )
}

/// A create that is not strict drops what the kind does not have.
pub async fn an_unknown_field_is_dropped_unless_strict(place: &Place) -> Result<()> {
    let kind = place.kind("v1", "ConfigMap").await?;
    for (name, validation) in [
        ("a", None),
        ("b", Some(FieldValidation::Warn)),
        ("c", Some(FieldValidation::Ignore)),
    ] {
        let mut value = config_map(name, json!({"k": "v"}));
        value["daata"] = json!({"k": "v"});
        let params = WriteParams {
            validation,
            ..by("m")
        };
        let object = place.object(value, &kind)?;
        let made = place.cluster.create(&kind, &object, &params).await?;
        equal(at(&made, "/data/k"), &json!("v"))?;
        check(made.pointer("/daata").is_none(), || "it was kept".into())?;
    }
    Ok(())
}

/// Status is written by controllers: in what is applied it changes nothing.
pub async fn status_is_not_written_with_the_rest(place: &Place) -> Result<()> {
    let made = place
        .apply(
            "m",
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
            "spec": {"replicas": 0, "paused": true, "selector": {"matchLabels": {"app": "a"}}, "template": {"metadata": {"labels": {"app": "a"}},
                "spec": {"containers": [{"name": "c", "image": "x"}]}}},
            "status": {"replicas": 7}}),
        )
        .await?;
    check(at(&made, "/status/replicas") != &json!(7), || {
        "the status was taken".into()
    })?;
    let owned = at(&made, "/metadata/managedFields/0/fieldsV1");
    check(owned.get("f:spec").is_some(), || format!("{owned}"))?;
    check(owned.get("f:status").is_none(), || format!("{owned}"))
}

/// Names follow DNS.
pub async fn a_name_that_is_no_name_is_refused(place: &Place) -> Result<()> {
    let result = place.apply("m", config_map("Not_A_Name", json!({}))).await;
    refused(result, ErrorKind::InvalidInput, &["metadata.name"])
}

/// RFC 7386: null removes, the rest stays.
pub async fn a_merge_patch_changes_only_what_it_names(place: &Place) -> Result<()> {
    place
        .apply("m", config_map("a", json!({"x": "1", "y": "1"})))
        .await?;
    let kind = place.kind("v1", "ConfigMap").await?;
    let patch = Patch::Merge(json!({"data": {"x": null, "z": "2"}}));
    let patched = place
        .cluster
        .patch(place.key(&kind, "a"), &patch, &by("p"))
        .await?;
    equal(at(&patched, "/data"), &json!({"y": "1", "z": "2"}))
}

/// RFC 6902.
pub async fn a_json_patch_is_applied(place: &Place) -> Result<()> {
    place.apply("m", config_map("a", json!({"x": "1"}))).await?;
    let kind = place.kind("v1", "ConfigMap").await?;
    let patch = Patch::Json(json!([
        {"op": "test", "path": "/data/x", "value": "1"},
        {"op": "replace", "path": "/data/x", "value": "2"},
        {"op": "add", "path": "/metadata/labels", "value": {"l": "1"}},
    ]));
    let patched = place
        .cluster
        .patch(place.key(&kind, "a"), &patch, &by("p"))
        .await?;
    equal(at(&patched, "/data/x"), &json!("2"))?;
    equal(patched.label("l"), Some("1"))
}

/// A version in a merge patch is a condition.
pub async fn a_patch_needs_the_version_it_names(place: &Place) -> Result<()> {
    let first = place.apply("m", config_map("a", json!({"x": "1"}))).await?;
    let second = place.apply("m", config_map("a", json!({"x": "2"}))).await?;
    let kind = place.kind("v1", "ConfigMap").await?;
    let patch = |version: &str| {
        Patch::Merge(json!({"metadata": {"resourceVersion": version}, "data": {"x": "3"}}))
    };
    let stale = patch(first.resource_version());
    refused(
        place
            .cluster
            .patch(place.key(&kind, "a"), &stale, &by("p"))
            .await,
        ErrorKind::Conflict,
        &["modified"],
    )?;
    let patched = place
        .cluster
        .patch(
            place.key(&kind, "a"),
            &patch(second.resource_version()),
            &by("p"),
        )
        .await?;
    equal(at(&patched, "/data/x"), &json!("3"))
}

/// A test that fails, or a path that leads nowhere, is `InvalidInput` and changes nothing.
pub async fn a_failing_json_patch_is_refused(place: &Place) -> Result<()> {
    let before = place.apply("m", config_map("a", json!({"x": "1"}))).await?;
    let kind = place.kind("v1", "ConfigMap").await?;
    let patch = Patch::Json(json!([{"op": "replace", "path": "/data/nothing/deep", "value": "2"}]));
    refused(
        place
            .cluster
            .patch(place.key(&kind, "a"), &patch, &by("p"))
            .await,
        ErrorKind::InvalidInput,
        &[],
    )?;
    equal(
        place
            .there("v1", "ConfigMap", "a")
            .await?
            .resource_version(),
        before.resource_version(),
    )
}

/// Patching what is not there is `NotFound`.
pub async fn a_patch_of_nothing_is_not_found(place: &Place) -> Result<()> {
    let kind = place.kind("v1", "ConfigMap").await?;
    let patch = Patch::Merge(json!({"data": {}}));
    let result = place
        .cluster
        .patch(place.key(&kind, "nothing"), &patch, &by("p"))
        .await;
    refused(result, ErrorKind::NotFound, &["nothing"])
}

/// A version in the object is a condition.
pub async fn a_replace_needs_the_version_it_names(place: &Place) -> Result<()> {
    let first = place.apply("m", config_map("a", json!({"x": "1"}))).await?;
    place.apply("m", config_map("a", json!({"x": "2"}))).await?;
    let kind = place.kind("v1", "ConfigMap").await?;
    refused(
        place.cluster.replace(&kind, &first, &by("m")).await,
        ErrorKind::Conflict,
        &["modified"],
    )?;
    let mut unconditional = place.object(config_map("a", json!({"y": "3"})), &kind)?;
    unconditional.set_label("l", "1");
    let replaced = place
        .cluster
        .replace(&kind, &unconditional, &by("m"))
        .await?;
    equal(at(&replaced, "/data"), &json!({"y": "3"}))?;
    equal(replaced.uid(), first.uid())
}

/// Replacing what is not there is `NotFound`.
pub async fn a_replace_of_nothing_is_not_found(place: &Place) -> Result<()> {
    let kind = place.kind("v1", "ConfigMap").await?;
    let object = place.object(config_map("nothing", json!({})), &kind)?;
    refused(
        place.cluster.replace(&kind, &object, &by("m")).await,
        ErrorKind::NotFound,
        &["nothing"],
    )
}

/// `metadata.generation` grows with the spec and not with metadata.
pub async fn generation_counts_changes_of_the_spec(place: &Place) -> Result<()> {
    let deployment = |replicas: u32, label: &str| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "labels": {"l": label}},
            "spec": {"replicas": replicas, "paused": true, "selector": {"matchLabels": {"app": "a"}}, "template": {"metadata": {"labels": {"app": "a"}},
                "spec": {"containers": [{"name": "c", "image": "x"}]}}}})
    };
    let made = place.apply("m", deployment(0, "1")).await?;
    equal(at(&made, "/metadata/generation"), &json!(1))?;
    let labelled = place.apply("m", deployment(0, "2")).await?;
    equal(at(&labelled, "/metadata/generation"), &json!(1))?;
    let scaled = place.apply("m", deployment(1, "2")).await?;
    equal(at(&scaled, "/metadata/generation"), &json!(2))
}

async fn names(place: &Place, params: ListParams) -> Result<Vec<String>> {
    let kind = place.kind("v1", "ConfigMap").await?;
    let list = place.cluster.list(&kind, &params).await?;
    check(
        list.items
            .iter()
            .all(|item| item.kind() == "ConfigMap" && item.api_version() == "v1"),
        || "items without kind".into(),
    )?;
    // Every namespace gets this one on a real cluster.
    let ours = list
        .items
        .iter()
        .filter(|item| item.name() != "kube-root-ca.crt");
    Ok(ours.map(|item| item.name().to_owned()).collect())
}

/// Equality- and set-based label selectors.
pub async fn labels_select(place: &Place) -> Result<()> {
    for (name, labels) in [
        ("a", json!({"x": "1"})),
        ("b", json!({"x": "2", "y": "1"})),
        ("c", json!({})),
    ] {
        let mut value = config_map(name, json!({}));
        value["metadata"]["labels"] = labels;
        place.apply("m", value).await?;
    }
    for (selector, expected) in [
        ("x=1", vec!["a"]),
        ("x", vec!["a", "b"]),
        ("!x", vec!["c"]),
        ("x in (1, 2),y", vec!["b"]),
        ("x notin (1)", vec!["b", "c"]),
        ("x!=1,x", vec!["b"]),
    ] {
        let params = ListParams {
            namespace: Some(place.namespace.clone()),
            labels: Some(selector.into()),
            ..ListParams::default()
        };
        let seen = names(place, params).await?;
        check(seen == expected, || {
            format!("{selector}: {seen:?}, expected {expected:?}")
        })?;
    }
    let params = ListParams {
        namespace: Some(place.namespace.clone()),
        labels: Some("x in".into()),
        ..ListParams::default()
    };
    refused(names(place, params).await, ErrorKind::InvalidInput, &[])
}

/// Name and namespace select as fields.
pub async fn fields_select(place: &Place) -> Result<()> {
    for name in ["a", "b"] {
        place.apply("m", config_map(name, json!({}))).await?;
    }
    let params = ListParams {
        fields: Some(format!(
            "metadata.name=b,metadata.namespace={}",
            place.namespace
        )),
        ..ListParams::default()
    };
    equal(names(place, params).await?, ["b"])
}

/// `limit` cuts, and the token goes on where it was cut.
pub async fn lists_come_in_pages(place: &Place) -> Result<()> {
    for number in 0..5 {
        place
            .apply("m", config_map(&format!("m{number}"), json!({})))
            .await?;
    }
    let kind = place.kind("v1", "ConfigMap").await?;
    let mut params = ListParams {
        namespace: Some(place.namespace.clone()),
        limit: Some(2),
        ..ListParams::default()
    };
    let (mut seen, mut pages) = (Vec::new(), 0);
    loop {
        let page = place.cluster.list(&kind, &params).await?;
        pages += 1;
        check(page.items.len() <= 2, || {
            format!("{} items on a page", page.items.len())
        })?;
        check(!page.resource_version.is_empty(), || {
            "a list without a version".into()
        })?;
        seen.extend(page.items.iter().map(|item| item.name().to_owned()));
        match page.continue_token {
            Some(token) => params.continue_token = Some(token),
            None => break,
        }
    }
    seen.retain(|name| name.starts_with('m'));
    equal(seen, ["m0", "m1", "m2", "m3", "m4"])?;
    check(pages >= 3, || format!("{pages} pages"))
}

/// A token that no list gave is `InvalidInput`.
pub async fn a_made_up_token_is_refused(place: &Place) -> Result<()> {
    let kind = place.kind("v1", "ConfigMap").await?;
    let params = ListParams {
        namespace: Some(place.namespace.clone()),
        limit: Some(2),
        continue_token: Some("made up".into()),
        ..ListParams::default()
    };
    refused(
        place.cluster.list(&kind, &params).await,
        ErrorKind::InvalidInput,
        &[],
    )
}

/// Who asks for metadata alone gets it, of objects that are of their kind.
pub async fn lists_of_metadata_name_their_objects(place: &Place) -> Result<()> {
    let mut value = config_map("a", json!({"key": "value"}));
    value["metadata"]["labels"] = json!({"of": place.namespace});
    let applied = place.apply("m", value).await?;
    let kind = place.kind("v1", "ConfigMap").await?;
    let params = ListParams {
        namespace: Some(place.namespace.clone()),
        labels: Some(format!("of={}", place.namespace)),
        metadata_only: true,
        ..ListParams::default()
    };
    let list = place.cluster.list(&kind, &params).await?;
    let ids: Vec<_> = list.items.iter().map(|item| item.id()).collect();
    equal(ids, [applied.id()])?;
    let labels: Vec<_> = list.items.iter().map(|item| item.label("of")).collect();
    equal(labels, [Some(place.namespace.as_str())])?;
    check(
        list.items
            .iter()
            .all(|item| item.api_version() == "v1" && item.uid() == applied.uid()),
        || format!("{:?}", list.items),
    )
}

/// One namespace or all of them.
pub async fn lists_are_of_a_namespace_or_all(place: &Place) -> Result<()> {
    let mut value = config_map("a", json!({}));
    value["metadata"]["labels"] = json!({"of": place.namespace});
    place.apply("m", value).await?;
    let labels = Some(format!("of={}", place.namespace));
    let all = ListParams {
        labels: labels.clone(),
        ..ListParams::default()
    };
    equal(names(place, all).await?, ["a"])?;
    let elsewhere = ListParams {
        namespace: Some("default".into()),
        labels,
        ..ListParams::default()
    };
    equal(names(place, elsewhere).await?, Vec::<String>::new())
}

/// A Secret's `stringData` is stored as `data`.
pub async fn string_data_becomes_data(place: &Place) -> Result<()> {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"p": "hunter2"}});
    let made = place.apply("m", secret).await?;
    equal(at(&made, "/data/p"), &json!("aHVudGVyMg=="))?;
    check(made.pointer("/stringData").is_none(), || {
        "stringData was kept".into()
    })?;
    equal(at(&made, "/type"), &json!("Opaque"))
}

/// A Secret's type asks for keys.
pub async fn the_type_of_a_secret_asks_for_keys(place: &Place) -> Result<()> {
    let secret = |name: &str, kind: &str, content: Value| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": format!("kubernetes.io/{kind}"), "stringData": content});
    for (kind, content, missing) in [
        ("tls", json!({"tls.crt": ""}), "tls.key"),
        ("ssh-auth", json!({"ssh-privatekey": ""}), "ssh-privatekey"),
        ("basic-auth", json!({"user": "u"}), "username"),
        ("dockercfg", json!({}), ".dockercfg"),
        ("dockerconfigjson", json!({}), ".dockerconfigjson"),
        (
            "service-account-token",
            json!({}),
            "kubernetes.io/service-account.name",
        ),
    ] {
        refused(
            place.apply("m", secret("s", kind, content)).await,
            ErrorKind::InvalidInput,
            &[missing, "Required value"],
        )?;
    }
    for (name, kind, content) in [
        ("tls", "tls", json!({"tls.crt": "", "tls.key": ""})),
        ("ssh", "ssh-auth", json!({"ssh-privatekey": "k"})),
        ("password", "basic-auth", json!({"password": ""})),
        (
            "docker",
            "dockerconfigjson",
            json!({".dockerconfigjson": "{}"}),
        ),
        ("null", "dockercfg", json!({".dockercfg": "null"})),
        ("other", "other", json!({})),
    ] {
        place.apply("m", secret(name, kind, content)).await?;
    }
    Ok(())
}

/// What is wrong with a Secret is told without its content.
pub async fn errors_about_secrets_quote_no_value(place: &Place) -> Result<()> {
    let secret = |kind: &str, field: &str, content: Value| {
        let mut value =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "type": kind});
        value[field] = content;
        value
    };
    for (what, value) in [
        (
            "a number",
            secret("Opaque", "stringData", json!({"p": 47_114_711})),
        ),
        (
            "no base64",
            secret("Opaque", "data", json!({"p": "hunter2!"})),
        ),
        ("no map", secret("Opaque", "data", json!("hunter2"))),
        (
            "no JSON",
            secret(
                "kubernetes.io/dockerconfigjson",
                "stringData",
                json!({".dockerconfigjson": "hunter2"}),
            ),
        ),
        (
            "no such key",
            secret("Opaque", "stringData", json!({"not a key": "hunter2"})),
        ),
    ] {
        let Err(error) = place.apply("m", value).await else {
            return Err(Error::failed(format!("{what} was not refused")));
        };
        let text = format!("{error} {error:#} {error:?}");
        check(error.kind() == ErrorKind::InvalidInput, || {
            format!("{what}: {:?}, {error}", error.kind())
        })?;
        check(
            !text.contains("hunter2") && !text.contains("47114711"),
            || format!("{what}: {text}"),
        )?;
    }
    Ok(())
}

/// What may not change is `InvalidInput`, naming the field.
pub async fn an_immutable_field_stays(place: &Place) -> Result<()> {
    let mut value = config_map("a", json!({"x": "1"}));
    value["immutable"] = json!(true);
    place.apply("m", value.clone()).await?;
    value["data"]["x"] = json!("2");
    refused(
        place.apply("m", value).await,
        ErrorKind::InvalidInput,
        &["immutable"],
    )?;
    equal(
        at(&place.there("v1", "ConfigMap", "a").await?, "/data/x"),
        &json!("1"),
    )
}
