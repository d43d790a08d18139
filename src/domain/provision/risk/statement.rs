//! Policies of IAM and of resources, as documents: what a statement allows, to whom, on what.

use serde_json::Value;

/// A text or a list of texts.
fn listed(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn statements(policy: &str) -> Vec<Value> {
    let Ok(mut document) = serde_json::from_str::<Value>(policy) else { return Vec::new() };
    match document.get_mut("Statement").map(Value::take) {
        Some(Value::Array(all)) => all,
        Some(one @ Value::Object(_)) => vec![one],
        _ => Vec::new(),
    }
}

fn allows(statement: &Value) -> bool {
    statement.get("Effect").and_then(Value::as_str) == Some("Allow")
}

fn only(text: &str, of: &[char]) -> bool {
    !text.is_empty() && text.chars().all(|c| of.contains(&c))
}

/// Whether a resource is every resource: `*`, or an ARN whose last part is (`arn:aws:s3:::*`).
fn is_every_resource(resource: &str) -> bool {
    only(resource, &['*']) || resource.splitn(6, ':').nth(5).is_some_and(|last| only(last, &['*', ':']))
}

/// What is allowed on every resource: `*` for everything, `!` for everything with exceptions, else `service:*`.
pub(super) fn wildcards(policy: &str) -> Vec<String> {
    let on_all = |statement: &Value| {
        let resources = listed(statement.get("Resource"));
        resources.into_iter().any(is_every_resource) || statement.get("NotResource").is_some()
    };
    let mut found = Vec::new();
    for statement in statements(policy).iter().filter(|statement| allows(statement) && on_all(statement)) {
        if statement.get("NotAction").is_some() {
            found.push("!".to_owned());
        }
        for action in listed(statement.get("Action")) {
            if only(action, &['*', ':']) {
                found.push("*".to_owned());
            } else if action.split_once(':').is_some_and(|(_, verb)| only(verb, &['*'])) {
                found.push(action.to_owned());
            }
        }
    }
    found
}

/// Whether a statement allows something to everybody, and no condition keeps anybody out.
pub(super) fn is_for_everybody(policy: &str) -> bool {
    statements(policy).iter().any(|statement| {
        let principal = statement.get("Principal");
        let anybody = listed(principal).contains(&"*")
            || principal
                .and_then(Value::as_object)
                .is_some_and(|who| who.values().any(|who| listed(Some(who)).contains(&"*")))
            // Everybody but those who are named.
            || statement.get("NotPrincipal").is_some();
        allows(statement) && anybody && !is_restricted(statement.get("Condition"))
    })
}

/// Whether a condition asks for more than an encrypted connection.
fn is_restricted(condition: Option<&Value>) -> bool {
    let operators = condition.and_then(Value::as_object).into_iter().flat_map(|all| all.values());
    let mut keys = operators.filter_map(Value::as_object).flat_map(|keys| keys.keys());
    keys.any(|key| !key.eq_ignore_ascii_case("aws:SecureTransport"))
}
