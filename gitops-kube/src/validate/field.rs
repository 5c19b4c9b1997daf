//! Paths of fields: as the API server writes them, and as JSON pointers.

use gitops_core::manifest::Object;
use gitops_core::validate::escape;
use serde_json::Value;

/// `spec.containers[0].name` of the pointer `/spec/containers/0/name`, as the API server writes it (apimachinery, `field.Path`).
#[cfg(feature = "schema")]
pub(super) fn from_pointer(object: &Value, pointer: &str) -> String {
    let mut path = String::new();
    let mut here = Some(object);
    for part in pointer.split('/').skip(1) {
        let key = part.replace("~1", "/").replace("~0", "~");
        match here {
            Some(Value::Array(items)) => {
                path.push_str(&format!("[{key}]"));
                here = key.parse::<usize>().ok().and_then(|at| items.get(at));
            }
            _ => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&key);
                here = here.and_then(|value| value.get(&key));
            }
        }
    }
    path
}

/// The JSON pointer of a path as the API server writes it: `spec.containers[0].name`, `metadata.labels[example.com/x]`, `.spec.containers[name="web"].image` (which item that is, `object`
/// tells). `None` for what is no path.
pub(super) fn to_pointer(object: &Object, path: &str) -> Option<String> {
    let mut rest = path.strip_prefix('.').unwrap_or(path);
    let mut pointer = String::new();
    while !rest.is_empty() {
        let (part, behind) = match rest.strip_prefix('[') {
            Some(inside) => {
                let (inside, behind) = inside.split_once(']')?;
                (index(object, &pointer, inside)?, behind)
            }
            None => {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        if part.is_empty() || part.contains(char::is_whitespace) {
            return None;
        }
        pointer.push('/');
        pointer.push_str(&escape(&part));
        rest = behind.strip_prefix('.').unwrap_or(behind);
    }
    (!pointer.is_empty()).then_some(pointer)
}

/// A key in brackets: an index, a map's key, or the keys of an item of an associative list (`name="web"`).
fn index(object: &Object, pointer: &str, inside: &str) -> Option<String> {
    if !inside.contains('=') {
        return Some(inside.trim_matches('"').to_owned());
    }
    let keys: Vec<(&str, &str)> = inside
        .split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim_matches('"')))
        .collect();
    let items = object.pointer(pointer)?.as_array()?;
    let at = items.iter().position(|item| {
        keys.iter().all(|(key, value)| match item.get(key) {
            Some(Value::String(text)) => text == value,
            Some(Value::Number(number)) => number.to_string() == *value,
            // The server fills in defaults of keys (a port's protocol).
            None => true,
            _ => false,
        })
    })?;
    Some(at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_and_pointers() {
        let value = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [
            {"name": "a", "ports": [{"containerPort": 80}]}, {"name": "b", "ports": [{"containerPort": 80}, {"containerPort": 81}]}]}});
        let object = Object::new(value, None).unwrap();
        for (path, pointer) in [
            ("spec.containers[1].name", Some("/spec/containers/1/name")),
            (
                ".spec.containers[name=\"b\"].image",
                Some("/spec/containers/1/image"),
            ),
            (
                ".spec.containers[name=\"b\"].ports[containerPort=81,protocol=\"TCP\"].x",
                Some("/spec/containers/1/ports/1/x"),
            ),
            (".spec.containers[name=\"c\"].image", None),
            (
                "metadata.labels[example.com/a.b]",
                Some("/metadata/labels/example.com~1a.b"),
            ),
            ("spec", Some("/spec")),
            ("", None),
            ("not a path", None),
            ("spec[", None),
        ] {
            assert_eq!(to_pointer(&object, path).as_deref(), pointer, "{path}");
        }
    }
}
