//! The names that Kubernetes takes (apimachinery 0.34, `pkg/util/validation`).

/// At most this many bytes in all of an object's annotations (`pkg/api/validation/objectmeta.go`).
pub(super) const ANNOTATIONS_MAX: usize = 256 * 1024;

/// A label of a DNS name: RFC 1123.
pub(super) fn dns_label(name: &str) -> Result<(), &'static str> {
    let ok = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    match name.as_bytes() {
        [] => Err("it is empty"),
        bytes if bytes.len() > 63 => Err("it is longer than 63 characters"),
        [first, .., last] if !ok(*first) || !ok(*last) => {
            Err("it must begin and end with a lower-case letter or a digit")
        }
        bytes if bytes.iter().all(|byte| ok(*byte) || *byte == b'-') && bytes != b"-" => Ok(()),
        _ => Err("only lower-case letters, digits and - are allowed"),
    }
}

/// A label of RFC 1035: begins with a letter.
pub(super) fn dns_label_1035(name: &str) -> Result<(), &'static str> {
    dns_label(name)?;
    match name.as_bytes()[0].is_ascii_lowercase() {
        true => Ok(()),
        false => Err("it must begin with a lower-case letter"),
    }
}

/// A DNS name: RFC 1123. Its parts may be longer than 63 characters, as Kubernetes allows.
pub(super) fn dns_subdomain(name: &str) -> Result<(), &'static str> {
    let ok = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if name.is_empty() {
        return Err("it is empty");
    }
    if name.len() > 253 {
        return Err("it is longer than 253 characters");
    }
    for part in name.split('.') {
        let bytes = part.as_bytes();
        match (bytes.first(), bytes.last()) {
            (Some(first), Some(last)) if ok(*first) && ok(*last) => {}
            _ => {
                return Err("each part must begin and end with a lower-case letter or a digit");
            }
        }
        if !bytes.iter().all(|byte| ok(*byte) || *byte == b'-') {
            return Err("only lower-case letters, digits, - and . are allowed");
        }
    }
    Ok(())
}

/// What can be a part of a URL's path.
pub(super) fn path_segment(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("it is empty"),
        "." | ".." => Err("it may not be . or .."),
        name if name.contains(['/', '%']) => Err("it may not contain / or %"),
        _ => Ok(()),
    }
}

/// The key of a label or an annotation.
pub(super) fn qualified_name(key: &str) -> Result<(), &'static str> {
    let name = match key.split_once('/') {
        Some((prefix, name)) => {
            dns_subdomain(prefix).map_err(|_| "the prefix must be a DNS name")?;
            name
        }
        None => key,
    };
    match name.len() {
        0 => Err("it is empty"),
        1..=63 => word(name),
        _ => Err("it is longer than 63 characters"),
    }
}

/// The value of a label.
pub(super) fn label_value(value: &str) -> Result<(), &'static str> {
    match value.len() {
        0 => Ok(()),
        1..=63 => word(value),
        _ => Err("it is longer than 63 characters"),
    }
}

fn word(text: &str) -> Result<(), &'static str> {
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    if !ends(bytes.first()) || !ends(bytes.last()) {
        return Err("it must begin and end with a letter or a digit");
    }
    match bytes
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
    {
        true => Ok(()),
        false => Err("only letters, digits, -, _ and . are allowed"),
    }
}

/// The name of an object of a kind. `None` where the rules of the kind are not known (an API server that is not Kubernetes' own).
pub(super) fn object_name(group: &str, kind: &str, name: &str) -> Result<(), &'static str> {
    match (group, kind) {
        ("" | "v1", "Namespace") => dns_label(name),
        // Since Kubernetes 1.34 a Service's name may begin with a digit, behind a gate that is off; the rule that every server has.
        ("", "Service") => dns_label_1035(name),
        ("rbac.authorization.k8s.io", _) => path_segment(name),
        // A Job's name is this long and its pods' suffix (batch, `pkg/apis/batch/validation`).
        ("batch", "CronJob") if name.len() > 52 => Err("it is longer than 52 characters"),
        // OpenShift's API servers take user names as names.
        (group, _) if group.ends_with(".openshift.io") => path_segment(name),
        _ => dns_subdomain(name),
    }
}
