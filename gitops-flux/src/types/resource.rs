//! What all kinds have around their `spec` and `status`.

/// The struct of one kind, what `kube` asks of it, and what [`FluxResource`](crate::FluxResource) does alike for all kinds with a status.
macro_rules! flux_kind {
    ($(#[$doc:meta])* $kind:ident($spec:ident, $status:ident) { $($body:tt)* }) => {
        $crate::types::resource::flux_kind!(@object $(#[$doc])* $kind, $spec, {
            /// What became of it.
            pub status: Option<$status>,
        }, { status: None, }, status);

        impl $crate::FluxResource for $kind {
            const KIND: $crate::FluxKind = $crate::FluxKind::$kind;

            fn conditions(&self) -> &[$crate::types::Condition] {
                let conditions = self.status.as_ref().and_then(|status| status.conditions.as_deref());
                conditions.unwrap_or_default()
            }

            fn clear_status(&mut self) {
                self.status = None;
            }

            $($body)*
        }
    };
    ($(#[$doc:meta])* $kind:ident($spec:ident) { $($body:tt)* }) => {
        $crate::types::resource::flux_kind!(@object $(#[$doc])* $kind, $spec, {}, {}, extra);

        impl $crate::FluxResource for $kind {
            const KIND: $crate::FluxKind = $crate::FluxKind::$kind;

            fn conditions(&self) -> &[$crate::types::Condition] {
                &[]
            }

            fn clear_status(&mut self) {
                self.extra.remove("status");
            }

            $($body)*
        }
    };
    (@object $(#[$doc:meta])* $kind:ident, $spec:ident, { $($field:tt)* }, { $($default:tt)* }, $shown:ident) => {
        $(#[$doc])*
        #[serde_with::skip_serializing_none]
        #[derive(Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $kind {
            /// The group and version that it was read as; the newest that is known here for a new one.
            pub api_version: String,
            /// The kind.
            pub kind: String,
            /// Name, namespace, labels …
            #[serde(deserialize_with = "gitops_core::extra::null_is_default")]
            pub metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
            /// What is asked for.
            #[serde(deserialize_with = "gitops_core::extra::null_is_default")]
            pub spec: $spec,
            $($field)*
            /// What is not known here.
            #[serde(flatten)]
            pub extra: $crate::types::Extra,
        }

        impl Default for $kind {
            fn default() -> Self {
                let kind = $crate::FluxKind::$kind;
                Self {
                    api_version: kind.api_version(),
                    kind: kind.kind().to_owned(),
                    metadata: Default::default(),
                    spec: Default::default(),
                    $($default)*
                    extra: Default::default(),
                }
            }
        }

        impl $kind {
            /// One of that name, with nothing asked for yet.
            pub fn new(name: impl Into<String>) -> Self {
                let mut object = Self::default();
                object.metadata.name = Some(name.into());
                object
            }

            /// Sets the namespace.
            #[must_use]
            pub fn in_namespace(mut self, namespace: impl Into<String>) -> Self {
                self.metadata.namespace = Some(namespace.into());
                self
            }

            /// Adds a label.
            #[must_use]
            pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
                let labels = self.metadata.labels.get_or_insert_default();
                labels.insert(key.into(), value.into());
                self
            }

            /// Adds an annotation.
            #[must_use]
            pub fn annotation(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
                let annotations = self.metadata.annotations.get_or_insert_default();
                annotations.insert(key.into(), value.into());
                self
            }
        }

        impl std::fmt::Debug for $kind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($kind))
                    .field("metadata", &$crate::types::meta::DebugMeta(&self.metadata))
                    .field("spec", &self.spec)
                    .field(stringify!($shown), &self.$shown)
                    .finish_non_exhaustive()
            }
        }

        impl kube::Resource for $kind {
            type DynamicType = ();
            type Scope = k8s_openapi::NamespaceResourceScope;

            fn kind(_: &()) -> std::borrow::Cow<'_, str> {
                $crate::FluxKind::$kind.kind().into()
            }

            fn group(_: &()) -> std::borrow::Cow<'_, str> {
                $crate::FluxKind::$kind.group().into()
            }

            fn version(_: &()) -> std::borrow::Cow<'_, str> {
                $crate::FluxKind::$kind.version().into()
            }

            fn plural(_: &()) -> std::borrow::Cow<'_, str> {
                $crate::FluxKind::$kind.plural().into()
            }

            fn meta(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

/// `observedGeneration` and `lastHandledReconcileAt` of a status that has both.
macro_rules! handled {
    () => {
        fn observed_generation(&self) -> Option<i64> {
            self.status.as_ref()?.observed_generation
        }

        fn last_handled_reconcile_at(&self) -> Option<&str> {
            self.status.as_ref()?.last_handled_reconcile_at.as_deref()
        }
    };
}

/// `spec.suspend`.
macro_rules! suspendable {
    () => {
        fn suspended(&self) -> Option<bool> {
            Some(self.spec.suspend.unwrap_or_default())
        }

        fn set_suspended(&mut self, suspended: bool) -> bool {
            self.spec.suspend = suspended.then_some(true);
            true
        }
    };
}

/// `spec.interval`.
macro_rules! at_intervals {
    () => {
        fn interval(&self) -> Option<&$crate::types::GoDuration> {
            self.spec.interval.as_ref()
        }
    };
}

/// `spec.timeout`.
macro_rules! timed {
    () => {
        fn timeout(&self) -> Option<&$crate::types::GoDuration> {
            self.spec.timeout.as_ref()
        }
    };
}

/// `status.artifact`.
macro_rules! offers_artifact {
    () => {
        fn artifact(&self) -> Option<&$crate::types::Artifact> {
            self.status.as_ref()?.artifact.as_ref()
        }
    };
}

/// Setters of fields that several kinds have, inside of an `impl` of the kind. What a kind means by a field is said at the field, to which
/// the documentation leads.
macro_rules! setters {
    ($spec:ident: $($field:ident),+) => {
        $($crate::types::resource::setters!(@$field $spec);)+
    };
    (@interval $spec:ident) => {
        #[doc = concat!("Sets [`spec.interval`](", stringify!($spec), "::interval): how often it is reconciled.")]
        #[must_use]
        pub fn interval(mut self, interval: impl Into<$crate::types::GoDuration>) -> Self {
            self.spec.interval = Some(interval.into());
            self
        }
    };
    (@timeout $spec:ident) => {
        #[doc = concat!("Sets [`spec.timeout`](", stringify!($spec), "::timeout): how long an operation may take.")]
        #[must_use]
        pub fn timeout(mut self, timeout: impl Into<$crate::types::GoDuration>) -> Self {
            self.spec.timeout = Some(timeout.into());
            self
        }
    };
    (@secret $spec:ident) => {
        #[doc = concat!("Sets [`spec.secretRef`](", stringify!($spec), "::secret_ref): the name of the Secret with the credentials.")]
        #[must_use]
        pub fn secret(mut self, name: impl Into<String>) -> Self {
            self.spec.secret_ref = Some($crate::types::LocalObjectReference::new(name));
            self
        }
    };
    (@target_namespace $spec:ident) => {
        #[doc = concat!("Sets [`spec.targetNamespace`](", stringify!($spec), "::target_namespace): the namespace of what it applies.")]
        #[must_use]
        pub fn target_namespace(mut self, namespace: impl Into<String>) -> Self {
            self.spec.target_namespace = Some(namespace.into());
            self
        }
    };
}

pub(crate) use {at_intervals, flux_kind, handled, offers_artifact, setters, suspendable, timed};
