//! The columns of each resource, as kubectl prints them (k8s.io/kubernetes/pkg/printers/internalversion, and
//! `additionalPrinterColumns` of the Argo CD and External Secrets CRDs).

use jiff::Timestamp;
use serde_json::{Value, json};

use super::resources::Resource;

/// One column of a table.
pub(super) struct Column {
    pub name: &'static str,
    /// `string` or `integer`.
    pub kind: &'static str,
    /// 0 always, 1 with `-o wide`.
    pub priority: u8,
    pub cell: fn(&Value, Timestamp) -> Value,
}

type Cell = fn(&Value, Timestamp) -> Value;

const fn text(name: &'static str, cell: Cell) -> Column {
    Column { name, kind: "string", priority: 0, cell }
}

const fn wide(name: &'static str, cell: Cell) -> Column {
    Column { name, kind: "string", priority: 1, cell }
}

const fn number(name: &'static str, cell: Cell) -> Column {
    Column { name, kind: "integer", priority: 0, cell }
}

const NAME: Column = text("Name", |o, _| o["metadata"]["name"].clone());
const AGE: Column = text("Age", |o, now| since(&o["metadata"]["creationTimestamp"], now));

static PODS: &[Column] = &[
    NAME,
    text("Ready", |o, _| {
        let ready = statuses(o).filter(|status| status["ready"] == true).count();
        json!(format!("{ready}/{}", list(&o["spec"]["containers"]).len()))
    }),
    text("Status", |o, _| json!(pod_status(o))),
    text("Restarts", |o, _| json!(statuses(o).filter_map(|s| s["restartCount"].as_u64()).sum::<u64>().to_string())),
    AGE,
    wide("IP", |o, _| or_none(&o["status"]["podIP"])),
    wide("Node", |o, _| or_none(&o["spec"]["nodeName"])),
    wide("Nominated Node", |o, _| or_none(&o["status"]["nominatedNodeName"])),
    wide("Readiness Gates", |_, _| json!("<none>")),
];

static DEPLOYMENTS: &[Column] = &[
    NAME,
    text("Ready", |o, _| json!(format!("{}/{}", count(&o["status"]["readyReplicas"]), count(&o["spec"]["replicas"])))),
    number("Up-to-date", |o, _| json!(count(&o["status"]["updatedReplicas"]))),
    number("Available", |o, _| json!(count(&o["status"]["availableReplicas"]))),
    AGE,
    wide("Containers", |o, _| containers(o, "name")),
    wide("Images", |o, _| containers(o, "image")),
    wide("Selector", |o, _| selector(&o["spec"]["selector"]["matchLabels"])),
];

static REPLICASETS: &[Column] = &[
    NAME,
    number("Desired", |o, _| json!(count(&o["spec"]["replicas"]))),
    number("Current", |o, _| json!(count(&o["status"]["replicas"]))),
    number("Ready", |o, _| json!(count(&o["status"]["readyReplicas"]))),
    AGE,
    wide("Containers", |o, _| containers(o, "name")),
    wide("Images", |o, _| containers(o, "image")),
    wide("Selector", |o, _| selector(&o["spec"]["selector"]["matchLabels"])),
];

static SERVICES: &[Column] = &[
    NAME,
    text("Type", |o, _| o["spec"]["type"].clone()),
    text("Cluster-IP", |o, _| or_none(&o["spec"]["clusterIP"])),
    text("External-IP", |_, _| json!("<none>")),
    text("Port(s)", |o, _| {
        let port = |port: &Value| format!("{}/{}", port["port"], port["protocol"].as_str().unwrap_or("TCP"));
        json!(list(&o["spec"]["ports"]).iter().map(port).collect::<Vec<_>>().join(","))
    }),
    AGE,
    wide("Selector", |o, _| selector(&o["spec"]["selector"])),
];

static JOBS: &[Column] = &[
    NAME,
    text("Status", |o, _| {
        let met = |kind: &str| condition(o, kind).is_some_and(|c| c["status"] == "True");
        json!(["Complete", "Failed", "Suspended"].into_iter().find(|kind| met(kind)).unwrap_or("Running"))
    }),
    text("Completions", |o, _| {
        json!(format!("{}/{}", count(&o["status"]["succeeded"]), o["spec"]["completions"].as_u64().unwrap_or(1)))
    }),
    text("Duration", |o, now| {
        let end = &o["status"]["completionTime"];
        let end = end.as_str().and_then(|end| end.parse().ok()).unwrap_or(now);
        if o["status"]["startTime"].is_string() { since(&o["status"]["startTime"], end) } else { json!("") }
    }),
    AGE,
    wide("Containers", |o, _| containers(o, "name")),
    wide("Images", |o, _| containers(o, "image")),
    wide("Selector", |o, _| selector(&o["spec"]["selector"]["matchLabels"])),
];

static CRONJOBS: &[Column] = &[
    NAME,
    text("Schedule", |o, _| o["spec"]["schedule"].clone()),
    text("Timezone", |o, _| or_none(&o["spec"]["timeZone"])),
    text("Suspend", |o, _| json!(if o["spec"]["suspend"] == true { "True" } else { "False" })),
    number("Active", |o, _| json!(list(&o["status"]["active"]).len())),
    text("Last Schedule", |o, now| {
        let last = &o["status"]["lastScheduleTime"];
        if last.is_string() { since(last, now) } else { json!("<none>") }
    }),
    AGE,
];

static EVENTS: &[Column] = &[
    text("Last Seen", |o, now| {
        let seen = ["lastTimestamp", "deprecatedLastTimestamp", "eventTime", "firstTimestamp"];
        seen.iter().map(|name| &o[*name]).find(|v| v.is_string()).map_or(json!("<unknown>"), |v| since(v, now))
    }),
    text("Type", |o, _| o["type"].clone()),
    text("Reason", |o, _| o["reason"].clone()),
    text("Object", |o, _| {
        let about = if o["involvedObject"].is_object() { &o["involvedObject"] } else { &o["regarding"] };
        let part = |name: &str| about[name].as_str().unwrap_or_default().to_owned();
        json!(format!("{}/{}", part("kind").to_lowercase(), part("name")))
    }),
    text("Message", |o, _| {
        let message = o["message"].as_str().or_else(|| o["note"].as_str()).unwrap_or_default();
        json!(message.trim())
    }),
    wide("Name", |o, _| o["metadata"]["name"].clone()),
];

static CONFIGMAPS: &[Column] = &[NAME, number("Data", |o, _| json!(size(&o["data"]) + size(&o["binaryData"]))), AGE];
static SECRETS: &[Column] =
    &[NAME, text("Type", |o, _| o["type"].clone()), number("Data", |o, _| json!(size(&o["data"]))), AGE];
static NAMESPACES: &[Column] = &[NAME, text("Status", |o, _| o["status"]["phase"].clone()), AGE];
static SERVICEACCOUNTS: &[Column] = &[NAME, number("Secrets", |o, _| json!(list(&o["secrets"]).len())), AGE];
static LEASES: &[Column] = &[NAME, text("Holder", |o, _| or_empty(&o["spec"]["holderIdentity"])), AGE];
static PLAIN: &[Column] = &[NAME, AGE];

static NODES: &[Column] = &[
    NAME,
    text("Status", |o, _| {
        json!(if condition(o, "Ready").is_some_and(|c| c["status"] == "True") { "Ready" } else { "NotReady" })
    }),
    text("Roles", |_, _| json!("<none>")),
    AGE,
    text("Version", |o, _| or_empty(&o["status"]["nodeInfo"]["kubeletVersion"])),
];

static APPLICATIONS: &[Column] = &[
    NAME,
    text("Sync Status", |o, _| or_empty(&o["status"]["sync"]["status"])),
    text("Health Status", |o, _| or_empty(&o["status"]["health"]["status"])),
    wide("Revision", |o, _| or_empty(&o["status"]["sync"]["revision"])),
    wide("Project", |o, _| or_empty(&o["spec"]["project"])),
];

static EXTERNALSECRETS: &[Column] = &[
    NAME,
    text("StoreType", |o, _| or_empty(&o["spec"]["secretStoreRef"]["kind"])),
    text("Store", |o, _| or_empty(&o["spec"]["secretStoreRef"]["name"])),
    text("Refresh Interval", |o, _| or_empty(&o["spec"]["refreshInterval"])),
    text("Status", |o, _| condition(o, "Ready").map_or(json!(""), |c| or_empty(&c["reason"]))),
    text("Ready", |o, _| condition(o, "Ready").map_or(json!(""), |c| or_empty(&c["status"]))),
    text("Last Sync", |o, now| {
        let last = &o["status"]["refreshTime"];
        if last.is_string() { since(last, now) } else { json!("") }
    }),
];

/// The columns of a resource.
pub(super) fn of(resource: &Resource) -> &'static [Column] {
    match resource.plural {
        "pods" => PODS,
        "deployments" => DEPLOYMENTS,
        "replicasets" => REPLICASETS,
        "services" => SERVICES,
        "jobs" => JOBS,
        "cronjobs" => CRONJOBS,
        "events" => EVENTS,
        "configmaps" => CONFIGMAPS,
        "secrets" => SECRETS,
        "namespaces" => NAMESPACES,
        "nodes" => NODES,
        "serviceaccounts" => SERVICEACCOUNTS,
        "leases" => LEASES,
        "applications" => APPLICATIONS,
        "externalsecrets" => EXTERNALSECRETS,
        _ => PLAIN,
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn size(value: &Value) -> usize {
    value.as_object().map_or(0, serde_json::Map::len)
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn or_none(value: &Value) -> Value {
    value.as_str().filter(|text| !text.is_empty()).map_or(json!("<none>"), |text| json!(text))
}

fn or_empty(value: &Value) -> Value {
    json!(value.as_str().unwrap_or_default())
}

fn statuses(pod: &Value) -> impl Iterator<Item = &Value> {
    list(&pod["status"]["containerStatuses"]).iter()
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    list(&object["status"]["conditions"]).iter().find(|condition| condition["type"] == kind)
}

fn containers(object: &Value, field: &str) -> Value {
    let all = list(&object["spec"]["template"]["spec"]["containers"]).iter();
    json!(all.filter_map(|container| container[field].as_str()).collect::<Vec<_>>().join(","))
}

fn selector(labels: &Value) -> Value {
    let pairs = labels.as_object().into_iter().flatten();
    let pairs: Vec<String> = pairs.map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect();
    json!(if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") })
}

/// The STATUS column of a pod: deletion, then why a container does not run, then the phase.
fn pod_status(pod: &Value) -> String {
    if pod["metadata"]["deletionTimestamp"].is_string() {
        return "Terminating".into();
    }
    let why = |status: &Value| {
        let state = &status["state"];
        let reason = state["waiting"]["reason"].as_str().or_else(|| state["terminated"]["reason"].as_str());
        reason.map(str::to_owned)
    };
    let phase = pod["status"]["reason"].as_str().or_else(|| pod["status"]["phase"].as_str()).unwrap_or("Unknown");
    statuses(pod).find_map(why).unwrap_or_else(|| phase.to_owned())
}

fn since(start: &Value, now: Timestamp) -> Value {
    let Some(start) = start.as_str().and_then(|start| start.parse::<Timestamp>().ok()) else {
        return json!("<unknown>");
    };
    json!(human(now.duration_since(start).as_secs()))
}

/// A duration as kubectl writes it (k8s.io/apimachinery/pkg/util/duration).
fn human(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let pair = |a: i64, unit: &str, b: i64, small: &str| {
        if b == 0 { format!("{a}{unit}") } else { format!("{a}{unit}{b}{small}") }
    };
    match seconds {
        ..0 => "0s".into(),
        0..120 => format!("{seconds}s"),
        120..600 => pair(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => pair(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => pair(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => pair(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_kubectl_writes_them() {
        for (seconds, text) in [
            (5, "5s"),
            (119, "119s"),
            (150, "2m30s"),
            (3600, "60m"),
            (10_800, "3h"),
            (11_460, "3h11m"),
            (90_000, "25h"),
            (266_400, "3d2h"),
            (1_036_800, "12d"),
        ] {
            assert_eq!(human(seconds), text);
        }
    }

    #[test]
    fn a_pods_status_says_why_it_does_not_run() {
        let mut pod = json!({"status": {"phase": "Pending", "containerStatuses": [
            {"state": {"waiting": {"reason": "ImagePullBackOff"}}}]}});
        assert_eq!(pod_status(&pod), "ImagePullBackOff");
        pod["metadata"]["deletionTimestamp"] = json!("2025-03-04T09:00:00Z");
        assert_eq!(pod_status(&pod), "Terminating");
    }
}
