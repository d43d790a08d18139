//! What is opened to everybody, and what may do everything.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Found, RiskKind};
use crate::domain::provision::RawChange;
use crate::domain::provision::values::{number, text, texts, truth, unknown};

/// Everybody, in either family of addresses.
const EVERYBODY: [&str; 2] = ["0.0.0.0/0", "::/0"];
/// What a public web server is for.
const WEB: [u16; 2] = [80, 443];
/// Ports that administer a machine, or answer with its data.
const ADMIN: [u16; 17] =
    [22, 23, 1433, 1521, 2375, 2379, 3306, 3389, 5432, 5601, 5984, 6379, 8086, 9200, 9300, 11211, 27017];

/// Ports, as a rule has them; `None` where they are known only after apply.
type Ports = Option<(u16, u16)>;

/// What everybody can reach afterwards and could not before.
pub(super) fn opened(raw: &RawChange, found: &mut Found<'_>) {
    let (before, after) = (&raw.change.before, &raw.change.after);
    let was = open_ports(&raw.kind, before);
    for ports in open_ports(&raw.kind, after).difference(&was) {
        port(*ports, found);
    }
    let newly = |path: &str, wanted: bool| truth(after, path) == Some(wanted) && truth(before, path) != Some(wanted);
    match raw.kind.as_str() {
        "aws_db_instance" | "aws_rds_cluster_instance" | "aws_redshift_cluster"
            if newly("publicly_accessible", true) =>
        {
            found.add(RiskKind::Exposed, "the database gets a public address");
        }
        "aws_eks_cluster" => {
            let open = |value| {
                truth(value, "vpc_config.endpoint_public_access") == Some(true)
                    && texts(value, "vpc_config.public_access_cidrs").iter().any(|from| EVERYBODY.contains(from))
            };
            if open(after) && !open(before) {
                found.add(RiskKind::Exposed, "the cluster's API answers the whole internet");
            }
        }
        "aws_s3_bucket_public_access_block" => {
            let fields = ["block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets"];
            if fields.iter().any(|path| newly(path, false)) {
                found.add(RiskKind::Exposed, "the bucket can be made public");
            }
        }
        "aws_s3_bucket_acl" | "aws_s3_bucket" => {
            let public = |value| text(value, "acl").is_some_and(|acl| acl.starts_with("public-"));
            if public(after) && !public(before) {
                found.add(RiskKind::Exposed, "everybody can read the bucket");
            }
        }
        "aws_s3_bucket_policy"
        | "aws_sqs_queue_policy"
        | "aws_ecr_repository_policy"
        | "aws_secretsmanager_secret_policy"
            if for_everybody(after) && !for_everybody(before) =>
        {
            found.add(RiskKind::Exposed, "its policy lets everybody in, without a condition");
        }
        _ => {}
    }
}

fn port(ports: Ports, found: &mut Found<'_>) {
    let Some((from, to)) = ports else {
        return found.add(RiskKind::Exposed, "ports that are known only after apply are opened to the whole internet");
    };
    if from == to && WEB.contains(&from) {
        return;
    }
    let said = match (from, to) {
        (0, u16::MAX) => "every port is".to_owned(),
        (from, to) if from == to => format!("port {from} is"),
        (from, to) => format!("ports {from} to {to} are"),
    };
    let admin = ADMIN.iter().any(|port| (from..=to).contains(port));
    let kind = if admin { RiskKind::AdminPortOpen } else { RiskKind::Exposed };
    found.add(kind, format!("{said} opened to the whole internet"));
}

fn open_ports(kind: &str, value: &Value) -> BTreeSet<Ports> {
    let rules: Vec<&Value> = match kind {
        "aws_security_group" | "aws_default_security_group" => {
            value.get("ingress").and_then(Value::as_array).into_iter().flatten().collect()
        }
        "aws_security_group_rule" if text(value, "type") == Some("ingress") => vec![value],
        "aws_vpc_security_group_ingress_rule" => vec![value],
        _ => Vec::new(),
    };
    rules.into_iter().filter(|rule| is_for_everybody(rule)).map(ports).collect()
}

fn is_for_everybody(rule: &Value) -> bool {
    let sources = ["cidr_blocks", "ipv6_cidr_blocks", "cidr_ipv4", "cidr_ipv6"];
    sources.iter().any(|path| texts(rule, path).iter().any(|from| EVERYBODY.contains(from)))
}

fn ports(rule: &Value) -> Ports {
    let protocol = text(rule, "protocol").or_else(|| text(rule, "ip_protocol"));
    if matches!(protocol, Some("-1" | "all")) {
        return Some((0, u16::MAX));
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a port; what is outside is cut to its range"
    )]
    let port = |path| number(rule, path).map(|port| port.clamp(0.0, f64::from(u16::MAX)) as u16);
    Some((port("from_port")?, port("to_port")?))
}

/// What may be done afterwards, and could not before.
pub(super) fn permitted(raw: &RawChange, found: &mut Found<'_>) {
    let (before, after) = (&raw.change.before, &raw.change.after);
    let paths: &[&str] = match raw.kind.as_str() {
        "aws_iam_policy" | "aws_iam_role_policy" | "aws_iam_user_policy" | "aws_iam_group_policy" => &["policy"],
        "aws_iam_role" => &["inline_policy.policy"],
        _ => &[],
    };
    let wide = |value: &Value| -> BTreeSet<String> {
        paths.iter().flat_map(|path| texts(value, path)).flat_map(wildcards).collect()
    };
    for action in wide(after).difference(&wide(before)) {
        if action == "*" {
            found.add(RiskKind::Admin, "its policy allows everything on every resource (Action *, Resource *)");
        } else {
            found.add(RiskKind::WidePermission, format!("its policy allows {action} on every resource"));
        }
    }
    if raw.kind.ends_with("_policy_attachment") && raw.kind.starts_with("aws_iam") {
        let administrator =
            |value| text(value, "policy_arn").is_some_and(|arn| arn.ends_with(":policy/AdministratorAccess"));
        if administrator(after) && !administrator(before) {
            found.add(RiskKind::Admin, "AdministratorAccess allows everything on every resource");
        }
    }
    if raw.kind == "aws_iam_role" {
        let anybody = |value| texts(value, "assume_role_policy").into_iter().any(has_open_statement);
        if anybody(after) && !anybody(before) {
            found.add(RiskKind::Exposed, "anybody with an AWS account can take this role");
        }
    }
}

/// What would have to be known to tell whether a change carries one of these risks, and is known only after apply.
pub(super) fn undecided(raw: &RawChange, kinds: &[RiskKind]) -> Option<&'static str> {
    let unknown = |path: &&'static str| unknown(&raw.change.after_unknown, path);
    let policy = matches!(
        raw.kind.as_str(),
        "aws_iam_policy" | "aws_iam_role_policy" | "aws_iam_user_policy" | "aws_iam_group_policy"
    );
    if policy && kinds.iter().any(|kind| matches!(kind, RiskKind::Admin | RiskKind::WidePermission)) {
        return ["policy"].iter().find(|path| unknown(path)).copied();
    }
    let from: &[&'static str] = match raw.kind.as_str() {
        "aws_security_group" | "aws_default_security_group" => {
            &["ingress.cidr_blocks", "ingress.ipv6_cidr_blocks", "ingress.from_port"]
        }
        "aws_security_group_rule" if text(&raw.change.after, "type") == Some("ingress") => {
            &["cidr_blocks", "ipv6_cidr_blocks", "from_port"]
        }
        "aws_vpc_security_group_ingress_rule" => &["cidr_ipv4", "cidr_ipv6", "from_port"],
        _ => &[],
    };
    if kinds.iter().any(|kind| matches!(kind, RiskKind::AdminPortOpen | RiskKind::Exposed)) {
        return from.iter().find(|path| unknown(path)).copied();
    }
    None
}

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

/// Actions with a wildcard for a whole service, or for all, on every resource.
fn wildcards(policy: &str) -> Vec<String> {
    let on_all =
        |statement: &Value| listed(statement.get("Resource")).contains(&"*") || statement.get("NotResource").is_some();
    let mut found = Vec::new();
    for statement in statements(policy).iter().filter(|statement| allows(statement) && on_all(statement)) {
        if statement.get("NotAction").is_some() {
            found.push("*".to_owned());
        }
        let actions = listed(statement.get("Action")).into_iter();
        found.extend(
            actions
                .filter(|action| *action == "*" || action.ends_with(":*"))
                .map(|action| if action == "*:*" { "*".to_owned() } else { action.to_owned() }),
        );
    }
    found
}

fn for_everybody(value: &Value) -> bool {
    texts(value, "policy").into_iter().any(has_open_statement)
}

/// A statement that allows something to everybody, with no condition.
fn has_open_statement(policy: &str) -> bool {
    statements(policy).iter().any(|statement| {
        let principal = statement.get("Principal");
        let anybody = listed(principal).contains(&"*")
            || principal
                .and_then(Value::as_object)
                .is_some_and(|who| who.values().any(|who| listed(Some(who)).contains(&"*")));
        allows(statement) && anybody && statement.get("Condition").is_none()
    })
}
