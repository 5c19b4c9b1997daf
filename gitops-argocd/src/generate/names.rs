//! The names that Kubernetes takes (apimachinery 0.34, `pkg/util/validation`).

/// A DNS name: RFC 1123.
pub(super) fn dns_subdomain(name: &str) -> Result<(), &'static str> {
    let edge = |byte: Option<&u8>| {
        byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    if name.is_empty() {
        return Err("it is empty");
    }
    if name.len() > 253 {
        return Err("it is longer than 253 characters");
    }
    for part in name.split('.').map(str::as_bytes) {
        if !edge(part.first()) || !edge(part.last()) {
            return Err("each part must begin and end with a lower-case letter or a digit");
        }
        if !part.iter().all(|byte| edge(Some(byte)) || *byte == b'-') {
            return Err("only lower-case letters, digits, - and . are allowed");
        }
    }
    Ok(())
}

/// The key of a label.
pub(super) fn qualified_name(key: &str) -> Result<(), &'static str> {
    let name = match key.split_once('/') {
        Some((prefix, name)) => {
            dns_subdomain(prefix).map_err(|_| "what is before the slash must be a DNS name")?;
            name
        }
        None => key,
    };
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    match bytes.len() {
        0 => Err("it is empty"),
        1..=63 if !edge(bytes.first()) || !edge(bytes.last()) => {
            Err("it must begin and end with a letter or a digit")
        }
        1..=63
            if !bytes
                .iter()
                .all(|byte| edge(Some(byte)) || b"-_.".contains(byte)) =>
        {
            Err("only letters, digits, -, _ and . are allowed")
        }
        1..=63 => Ok(()),
        _ => Err("it is longer than 63 characters"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in ["a", "a-b", "0", "a.b-c.d", &"a".repeat(253)] {
            assert_eq!(dns_subdomain(name), Ok(()), "{name}");
        }
        for name in [
            "",
            "A",
            "a_b",
            "-a",
            "a-",
            "a..b",
            ".a",
            "é",
            "{{a}}",
            "a/b",
            &"a".repeat(254),
        ] {
            assert!(dns_subdomain(name).is_err(), "{name}");
        }
        for key in ["a", "A_b.c-d", "x.y/Z", "path.basename", &"a".repeat(63)] {
            assert_eq!(qualified_name(key), Ok(()), "{key}");
        }
        for key in [
            "",
            "/a",
            "a/",
            "a/b/c",
            "path[0]",
            "-a",
            "X/a",
            "a b",
            &"a".repeat(64),
        ] {
            assert!(qualified_name(key).is_err(), "{key}");
        }
    }
}
