//! Takes what may be secret out of the messages of programs that render.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// What stands for a text that was taken out.
const MASK: &str = "*****";
/// Shorter texts are left: they are all over a message by chance (`80`, `v1`, `dev`), and without them it says nothing.
const SHORTEST: usize = 4;
/// How much of a program's message is kept.
const LONGEST: usize = 4096;
/// Words that every Kubernetes manifest may hold, and that no one takes for a secret.
const COMMON: [&str; 10] = [
    "true", "false", "null", "nil", "none", "name", "string", "number", "object", "array",
];

/// The texts that must not appear in a message.
#[derive(Default)]
pub(super) struct Masker {
    texts: BTreeSet<String>,
}

impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Masker")
            .field("texts", &self.texts.len())
            .finish()
    }
}

impl Masker {
    /// A text, and its lines when it has several.
    pub(super) fn add(&mut self, text: &str) {
        for part in std::iter::once(text).chain(text.lines()) {
            let part = part.trim();
            if part.chars().count() < SHORTEST
                || COMMON.iter().any(|word| part.eq_ignore_ascii_case(word))
            {
                continue;
            }
            self.texts.insert(part.to_owned());
        }
    }

    /// Every text and number in a value, but no key: messages name those.
    pub(super) fn add_value(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.add(text),
            Value::Number(number) => self.add(&number.to_string()),
            Value::Array(items) => items.iter().for_each(|item| self.add_value(item)),
            Value::Object(map) => map.values().for_each(|item| self.add_value(item)),
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// Leaves texts alone that anyone sees in `public`.
    pub(super) fn keep_what_is_in(&mut self, public: &str) {
        self.texts.retain(|text| !public.contains(text.as_str()));
    }

    /// The message without them: as they are, quoted as Go and JSON quote, and in base64.
    pub(super) fn mask(&self, message: &str) -> String {
        let mut forms = BTreeSet::new();
        for text in &self.texts {
            let quoted = Value::from(text.as_str()).to_string();
            forms.insert(quoted[1..quoted.len() - 1].to_owned());
            forms.insert(text.replace('\'', "''"));
            forms.insert(STANDARD.encode(text));
            forms.insert(text.clone());
        }
        let mut forms: Vec<String> = forms.into_iter().collect();
        // The longest first: one may hold another.
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        let mut masked = without_users(message);
        for form in forms {
            if masked.contains(&form) {
                masked = masked.replace(&form, MASK);
            }
        }
        masked
    }
}

/// The message with user names and passwords taken out of the URLs in it.
fn without_users(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let end = after
            .find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'' | '`'))
            .unwrap_or(after.len());
        rest = match after[..end].rfind('@') {
            Some(user) => {
                out.push_str(MASK);
                &after[user..]
            }
            None => after,
        };
    }
    out.push_str(rest);
    out
}

/// A program's message, shortened: its beginning, which names the place, and its end, which gives the reason.
pub(super) fn shorten(message: &str) -> String {
    let message = message.trim();
    if message.len() <= LONGEST {
        return message.to_owned();
    }
    let head = message.floor_char_boundary(LONGEST / 2);
    let tail = message.ceil_char_boundary(message.len() - LONGEST / 2);
    format!("{} … {}", &message[..head], &message[tail..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn given_texts_disappear_in_every_form() {
        let mut masker = Masker::default();
        masker.add_value(&json!({
            "password": "hunter2 \"x\"",
            "list": ["canary-1", 12345],
            "pem": "-----BEGIN-----\nAAAABBBB\n",
            "on": true, "kind": "web",
        }));
        let text = format!(
            "bad \"hunter2 \\\"x\\\"\" and hunter2 \"x\" and {} at .Values.password, canary-1, 12345, AAAABBBB, web true",
            STANDARD.encode("canary-1")
        );
        assert_eq!(
            masker.mask(&text),
            "bad \"*****\" and ***** and ***** at .Values.password, *****, *****, *****, web true"
        );
        assert!(!format!("{masker:?}").contains("canary"));
    }

    #[test]
    fn what_everyone_sees_is_left() {
        let mut masker = Masker::default();
        masker.add("ClusterIP");
        masker.add("canary");
        masker.keep_what_is_in("type: ClusterIP");
        assert_eq!(masker.mask("ClusterIP canary"), "ClusterIP *****");
    }

    #[test]
    fn urls_lose_their_users() {
        let message = "get \"https://me:canary@h/x\": dial http://h:80/a@b, git::ssh://canary@h";
        assert_eq!(
            Masker::default().mask(message),
            "get \"https://*****@h/x\": dial http://h:80/a@b, git::ssh://*****@h"
        );
    }

    #[test]
    fn long_messages_keep_both_ends() {
        let long = format!("begin {} end", "ä".repeat(10_000));
        let short = shorten(&long);
        assert!(short.len() < 5000);
        assert!(short.starts_with("begin") && short.ends_with("end"));
    }
}
