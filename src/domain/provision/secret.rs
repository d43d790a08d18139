//! What must not be shown: values that Terraform marks, their unmarked copies, and values under the name of a secret.

use serde_json::Value;

use super::plan_json::RawDiff;

/// Names whose values are not shown, whether or not Terraform marks them; also as the last words of a name.
const SECRET: [&str; 13] = [
    "password",
    "passwd",
    "secret",
    "secret_string",
    "secret_binary",
    "private_key",
    "secret_key",
    "auth_token",
    "token",
    "api_key",
    "access_key",
    "connection_string",
    "credentials",
];
/// What is shown instead.
const HIDDEN: &str = "(sensitive)";
/// Shorter texts would be found inside of others everywhere.
const SHORT: usize = 4;

/// The marked values of one change: Terraform does not mark every copy of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    pub(super) fn of(diff: &RawDiff) -> Self {
        let mut secrets = Vec::new();
        collect(&diff.before, &diff.before_sensitive, &mut secrets);
        collect(&diff.after, &diff.after_sensitive, &mut secrets);
        // The longest first: one may be a part of another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self(secrets)
    }

    /// A sentence without them.
    pub(super) fn masked(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, secret| {
            if secret.len() >= SHORT { text.replace(secret.as_str(), HIDDEN) } else { without_word(&text, secret) }
        })
    }

    /// Whether a value holds one of them, or a value under the name of a secret.
    pub(super) fn are_in(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.are_in_text(text) || document(text).is_some_and(|inner| self.are_in(&inner)),
            Value::Number(number) => self.are_in_text(&number.to_string()),
            Value::Array(items) => items.iter().any(|item| self.are_in(item)),
            Value::Object(map) => {
                let named = |(key, value): (&String, &Value)| {
                    !value.is_null() && (is_secret(key) || key == "value" && names_secret(map))
                };
                map.iter().any(named) || map.values().any(|value| self.are_in(value))
            }
            _ => false,
        }
    }

    fn are_in_text(&self, text: &str) -> bool {
        self.0.iter().any(|secret| if secret.len() >= SHORT { text.contains(secret.as_str()) } else { text == secret })
    }
}

/// A short secret is hidden where it is a word of its own.
fn without_word(text: &str, secret: &str) -> String {
    let mut out = String::new();
    let mut left = text;
    while let Some(at) = left.find(secret) {
        let (head, rest) = (&left[..at], &left[at + secret.len()..]);
        let before = head.chars().next_back().or_else(|| out.chars().next_back());
        let alone = ![before, rest.chars().next()].into_iter().flatten().any(char::is_alphanumeric);
        out.push_str(head);
        out.push_str(if alone { HIDDEN } else { secret });
        left = rest;
    }
    out + left
}

/// The texts and numbers below a mark.
fn collect(value: &Value, marks: &Value, secrets: &mut Vec<String>) {
    match (value, marks) {
        (Value::String(text), Value::Bool(true)) if !text.trim().is_empty() => secrets.push(text.clone()),
        (Value::Number(number), Value::Bool(true)) => secrets.push(number.to_string()),
        (Value::Array(items), Value::Bool(true)) => items.iter().for_each(|item| collect(item, marks, secrets)),
        (Value::Object(map), Value::Bool(true)) => map.values().for_each(|value| collect(value, marks, secrets)),
        (Value::Array(items), Value::Array(marks)) => {
            items.iter().zip(marks).for_each(|(item, mark)| collect(item, mark, secrets));
        }
        (Value::Object(map), Value::Object(marks)) => {
            marks.iter().for_each(|(key, mark)| collect(map.get(key).unwrap_or(&Value::Null), mark, secrets));
        }
        _ => {}
    }
}

/// Whether a name is that of a secret, however its words are joined: `db_password`, `DB-PASSWORD`, `dbPassword`.
pub(super) fn is_secret(name: &str) -> bool {
    let mut words = String::new();
    let mut last_small = false;
    for c in name.chars() {
        if c.is_uppercase() && last_small {
            words.push('_');
        }
        last_small = c.is_lowercase() || c.is_ascii_digit();
        words.extend(if matches!(c, '-' | '.' | ' ') { '_' } else { c }.to_lowercase());
    }
    SECRET.iter().any(|secret| words.strip_suffix(secret).is_some_and(|head| head.is_empty() || head.ends_with('_')))
}

/// Whether an object is a pair whose `name` is that of a secret, as in the environment of a container.
pub(super) fn names_secret(map: &serde_json::Map<String, Value>) -> bool {
    ["name", "key"].iter().filter_map(|key| map.get(*key)?.as_str()).any(is_secret)
}

/// A policy or another JSON document inside a text.
pub(super) fn document(text: &str) -> Option<Value> {
    if !text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_of_secrets_are_known_however_they_are_written() {
        for name in ["password", "DB_PASSWORD", "dbPassword", "client-secret", "apiKey", "aws.access_key", "auth_token"]
        {
            assert!(is_secret(name), "{name}");
        }
        for name in ["secret_arn", "passwords_allowed", "kms_key", "broken", "key", "secretary", "token_ttl"] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn sentences_are_told_without_secrets() {
        let diff: RawDiff = serde_json::from_value(json!({"actions": ["update"],
            "before": {"a": "hunter2", "n": 77, "s": "ab"}, "before_sensitive": {"a": true, "n": true, "s": true}}))
        .unwrap();
        let secrets = Secrets::of(&diff);
        assert_eq!(
            secrets.masked("x-hunter2 at 77, not 775: ab, cab"),
            "x-(sensitive) at (sensitive), not 775: (sensitive), cab"
        );
        assert!(secrets.are_in(&json!({"env": [{"name": "DB_PASSWORD", "value": "x"}]})));
        assert!(secrets.are_in(&json!("[{\"password\": \"x\"}]")) && secrets.are_in(&json!(77)));
        assert!(!secrets.are_in(&json!({"name": "PORT", "value": "x", "password": null, "n": 775})));
    }
}
