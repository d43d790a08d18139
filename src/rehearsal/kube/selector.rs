//! Label and field selectors.

use serde_json::Value;

use super::Status;
use super::resources::Resource;

/// A parsed label selector: all requirements hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    op: Op,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Op {
    Exists,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
    Greater(i64),
    Less(i64),
}

impl Labels {
    /// Reads `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1` (the grammar of k8s.io/apimachinery/pkg/labels).
    pub fn parse(text: &str) -> Result<Self, Status> {
        split_outside_parentheses(text)
            .into_iter()
            .filter(|part| !part.is_empty())
            .map(|part| {
                requirement(part)
                    .ok_or_else(|| Status::bad_request(format!("unable to parse requirement: {part} in {text}")))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether an object's labels match.
    #[must_use]
    pub fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.0.iter().all(|requirement| requirement.holds(labels[&requirement.key].as_str()))
    }
}

impl Requirement {
    fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.op {
            Op::Exists => value.is_some(),
            Op::Absent => value.is_none(),
            Op::In(values) => value.is_some_and(|value| values.iter().any(|v| v == value)),
            Op::NotIn(values) => value.is_none_or(|value| values.iter().all(|v| v != value)),
            Op::Greater(limit) => number().is_some_and(|number| number > *limit),
            Op::Less(limit) => number().is_some_and(|number| number < *limit),
        }
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts
}

fn requirement(part: &str) -> Option<Requirement> {
    let make = |key: &str, op: Op| is_key(key.trim()).then(|| Requirement { key: key.trim().to_owned(), op });
    if let Some((head, list)) = part.strip_suffix(')').and_then(|part| part.split_once('(')) {
        let values = list.split(',').map(|value| value.trim().to_owned()).collect();
        let (key, word) = head.trim().rsplit_once(char::is_whitespace)?;
        return match word {
            "in" => make(key, Op::In(values)),
            "notin" => make(key, Op::NotIn(values)),
            _ => None,
        };
    }
    if let Some((key, value)) = part.split_once("!=") {
        return make(key, Op::NotIn(vec![value.trim().to_owned()]));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return make(key, Op::In(vec![value.trim().to_owned()]));
    }
    if let Some((key, value)) = part.split_once('>') {
        return make(key, Op::Greater(value.trim().parse().ok()?));
    }
    if let Some((key, value)) = part.split_once('<') {
        return make(key, Op::Less(value.trim().parse().ok()?));
    }
    part.strip_prefix('!').map_or_else(|| make(part, Op::Exists), |key| make(key, Op::Absent))
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'))
}

/// A parsed field selector: path, value, and whether it must be equal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<(String, String, bool)>);

impl Fields {
    /// Reads `a.b=c,d.e!=f`; a field that the server does not index for this resource is refused, as by a real one.
    pub fn parse(resource: &Resource, text: &str) -> Result<Self, Status> {
        let mut terms = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (path, value, equal) = part
                .split_once("!=")
                .map(|(path, value)| (path, value, false))
                .or_else(|| part.split_once("==").or_else(|| part.split_once('=')).map(|(p, v)| (p, v, true)))
                .ok_or_else(|| Status::bad_request(format!("invalid selector: '{text}'; can't understand '{part}'")))?;
            if !is_indexed(resource, path) {
                return Err(Status::bad_request(format!("field label not supported: {path}")));
            }
            terms.push((path.to_owned(), value.to_owned(), equal));
        }
        Ok(Self(terms))
    }

    #[must_use]
    pub fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|(path, value, equal)| (field(object, path) == *value) == *equal)
    }
}

/// The selectable fields of each resource (k8s.io/kubernetes/pkg/apis/*/v1/conversion.go).
fn is_indexed(resource: &Resource, path: &str) -> bool {
    let own: &[&str] = match resource.plural {
        "pods" => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        "events" => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        "namespaces" => &["status.phase"],
        "nodes" => &["spec.unschedulable"],
        "jobs" => &["status.successful"],
        "replicasets" => &["status.replicas"],
        "secrets" => &["type"],
        "services" => &["spec.clusterIP", "spec.type"],
        _ => &[],
    };
    matches!(path, "metadata.name" | "metadata.namespace") || own.contains(&path)
}

/// The text of a selectable field; absent is empty, as on a real server.
fn field(object: &Value, path: &str) -> String {
    let path = path.strip_prefix("regarding.").map_or_else(|| path.to_owned(), |rest| format!("involvedObject.{rest}"));
    let value = match path.as_str() {
        "source" => &object["source"]["component"],
        "status.successful" => &object["status"]["succeeded"],
        path => path.split('.').fold(object, |value, name| &value[name]),
    };
    match value {
        Value::String(text) => text.clone(),
        Value::Null if path == "spec.unschedulable" || path == "spec.hostNetwork" => "false".into(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::resources::by_plural;
    use super::*;

    fn matches(selector: &str) -> bool {
        let object = json!({"metadata": {"labels": {"app": "gospelib-gateway", "tier": "front", "n": "5"}}});
        Labels::parse(selector).unwrap().matches(&object)
    }

    #[test]
    fn label_selectors() {
        for yes in [
            "",
            "app=gospelib-gateway",
            "app==gospelib-gateway,tier!=back",
            "app in (gospelib-gateway, x)",
            "tier notin (back),app",
            "!gone",
            "gone notin (a)",
            "gone!=x",
            "n>4,n<6",
        ] {
            assert!(matches(yes), "{yes}");
        }
        for no in ["app=x", "!app", "gone", "app in (x,y)", "tier notin (front)", "n>5", "app=gospelib-gateway,tier=x"]
        {
            assert!(!matches(no), "{no}");
        }
        for bad in ["a in b", "=x", "a b", "a in (b"] {
            assert_eq!(Labels::parse(bad).unwrap_err().code, 400, "{bad}");
        }
    }

    #[test]
    fn field_selectors() {
        let pods = by_plural("pods").unwrap();
        let pod = json!({"metadata": {"name": "a"}, "status": {"phase": "Running"}});
        assert!(Fields::parse(pods, "metadata.name=a,status.phase!=Failed").unwrap().matches(&pod));
        assert!(!Fields::parse(pods, "spec.nodeName=n1").unwrap().matches(&pod));
        assert!(Fields::parse(pods, "spec.nodeName=").unwrap().matches(&pod));
        assert!(Fields::parse(pods, "spec.containers=x").is_err());
        let events = by_plural("events").unwrap();
        let event = json!({"involvedObject": {"name": "p"}});
        assert!(Fields::parse(events, "regarding.name=p").unwrap().matches(&event));
    }
}
