//! How lists and maps of the served types merge.
//!
//! Source: `x-kubernetes-list-type`, `-list-map-keys`, `-map-type` and `patchMergeKey` in the OpenAPI document of
//! Kubernetes 1.33. The rows are by field name: in the served types a name means the same everywhere, but for `ports`.

use serde_json::Value;

/// How a list merges under server-side apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListKind {
    /// One value, owned whole.
    Atomic,
    /// Scalars, each owned by itself.
    Set,
    /// Objects, told apart by these fields.
    Map(&'static [&'static str]),
}

/// The kind of the list at `path` (elements as in FieldsV1: `f:spec`, `k:{…}`). `custom`: of a custom resource, whose
/// lists are atomic outside metadata.
pub(super) fn list_kind(path: &[String], custom: bool) -> ListKind {
    let name = path.last().and_then(|last| last.strip_prefix("f:")).unwrap_or_default();
    if custom && path.first().is_none_or(|first| first != "f:metadata") {
        return ListKind::Atomic;
    }
    match name {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "env"
        | "volumes"
        | "imagePullSecrets"
        | "secrets"
        | "resourceClaims" => ListKind::Map(&["name"]),
        "ports" if path.iter().any(|part| part.ends_with("ontainers")) => ListKind::Map(&["containerPort", "protocol"]),
        "ports" => ListKind::Map(&["port", "protocol"]),
        "volumeMounts" => ListKind::Map(&["mountPath"]),
        "volumeDevices" => ListKind::Map(&["devicePath"]),
        "hostAliases" | "hostIPs" | "podIPs" => ListKind::Map(&["ip"]),
        "conditions" | "addresses" => ListKind::Map(&["type"]),
        "ownerReferences" => ListKind::Map(&["uid"]),
        "topologySpreadConstraints" => ListKind::Map(&["topologyKey", "whenUnsatisfiable"]),
        "finalizers" => ListKind::Set,
        _ => ListKind::Atomic,
    }
}

/// Whether the map at `path` is owned whole.
pub(super) fn is_atomic_map(path: &[String], custom: bool) -> bool {
    let name = path.last().and_then(|last| last.strip_prefix("f:")).unwrap_or_default();
    !custom
        && matches!(
            name,
            "selector"
                | "nodeSelector"
                | "secretKeyRef"
                | "configMapKeyRef"
                | "fieldRef"
                | "resourceFieldRef"
                | "labelSelector"
                | "involvedObject"
                | "secretRef"
                | "scaleTargetRef"
        )
}

/// The keys of one item of a map list; absent `protocol` is TCP, the only default among keys. `None`: it has none.
pub(super) fn item_key(item: &Value, keys: &[&str]) -> Option<Vec<Value>> {
    let value = |key: &&str| match &item[*key] {
        Value::Null if *key == "protocol" => Some(Value::from("TCP")),
        Value::Null => None,
        value => Some(value.clone()),
    };
    item.is_object().then(|| keys.iter().map(value).collect())?
}

/// The merge key of a list under a strategic merge patch; `None` replaces the list.
pub(super) fn patch_key(name: &str, in_container: bool) -> Option<&'static str> {
    Some(match name {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "env"
        | "volumes"
        | "imagePullSecrets"
        | "secrets" => "name",
        "ports" if in_container => "containerPort",
        "ports" => "port",
        "volumeMounts" => "mountPath",
        "volumeDevices" => "devicePath",
        "hostAliases" | "podIPs" => "ip",
        "conditions" | "addresses" => "type",
        "ownerReferences" => "uid",
        "topologySpreadConstraints" => "topologyKey",
        "taints" => "key",
        _ => return None,
    })
}
