//! Looking into the values of a resource.

use serde_json::Value;

/// What stands at a path such as `vpc_config.public_access_cidrs`; lists are entered, so there may be several values.
pub(super) fn at<'a>(value: &'a Value, path: &str) -> Vec<&'a Value> {
    let mut found = vec![value];
    for name in path.split('.') {
        let inside = found.into_iter().flat_map(entered).filter_map(|value| value.get(name));
        found = inside.collect();
    }
    found
}

/// A list's items, or the value itself.
pub(super) fn entered(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().flat_map(entered).collect(),
        other => vec![other],
    }
}

/// The texts at a path, lists entered.
pub(super) fn texts<'a>(value: &'a Value, path: &str) -> Vec<&'a str> {
    at(value, path).into_iter().flat_map(entered).filter_map(Value::as_str).collect()
}

/// The first text at a path.
pub(super) fn text<'a>(value: &'a Value, path: &str) -> Option<&'a str> {
    texts(value, path).into_iter().next()
}

/// The first number at a path; Terraform writes some as text.
pub(super) fn number(value: &Value, path: &str) -> Option<f64> {
    let value = at(value, path).into_iter().flat_map(entered).next()?;
    value.as_f64().or_else(|| value.as_str()?.parse().ok()).filter(|number| number.is_finite())
}

/// The first truth at a path.
pub(super) fn truth(value: &Value, path: &str) -> Option<bool> {
    at(value, path).into_iter().flat_map(entered).next()?.as_bool()
}

/// Whether anything at the path, or the whole above it, is known only after apply (`after_unknown`).
pub(super) fn unknown(marks: &Value, path: &str) -> bool {
    if marks.as_bool() == Some(true) {
        return true;
    }
    let mut parts = path.split('.');
    let mut found = vec![marks];
    loop {
        if found.iter().any(|mark| mark.as_bool() == Some(true)) {
            return true;
        }
        let Some(name) = parts.next() else {
            return found.into_iter().flat_map(entered).any(|mark| mark.as_bool() == Some(true));
        };
        found = found.into_iter().flat_map(entered).filter_map(|mark| mark.get(name)).collect();
    }
}

/// Whether a text has the form of a pattern in which `*` stands for anything.
pub(super) fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut left) = text.strip_prefix(head) else { return false };
    let parts: Vec<&str> = rest.split('*').collect();
    let (last, between) = parts.split_last().unwrap_or((&"", &[]));
    for part in between {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_enter_lists() {
        let value = json!({"ingress": [{"cidr": ["a", "b"]}, {"cidr": ["c"]}], "n": "12", "on": [true]});
        assert_eq!(texts(&value, "ingress.cidr"), ["a", "b", "c"]);
        assert_eq!((number(&value, "n"), truth(&value, "on"), text(&value, "none.x")), (Some(12.0), Some(true), None));
        let marks = json!({"vpc": [{"ids": [false, true]}], "id": true});
        assert!(unknown(&marks, "vpc.ids") && unknown(&marks, "id") && unknown(&marks, "id.deep"));
        assert!(!unknown(&marks, "vpc.other") && unknown(&json!(true), "x"));
    }

    #[test]
    fn stars_stand_for_anything() {
        assert!(glob("aws_*", "aws_s3_bucket") && glob("*", "") && glob("a*b*c", "a1b2c") && glob("x", "x"));
        assert!(!glob("aws_*", "google") && !glob("a*b*c", "a1c") && !glob("x", "xy") && !glob("*a", "b"));
    }
}
