//! What may be done afterwards, and could not before.

use std::collections::BTreeSet;

use serde_json::Value;

use super::statement::wildcards;
use super::{Found, RiskKind};
use crate::domain::provision::RawChange;
use crate::domain::provision::values::texts;

/// Where a type has policies for identities.
pub(super) fn policies(kind: &str) -> &'static [&'static str] {
    match kind {
        "aws_iam_policy" | "aws_iam_role_policy" | "aws_iam_user_policy" | "aws_iam_group_policy" => &["policy"],
        "aws_iam_role" => &["inline_policy.policy"],
        "aws_ssoadmin_permission_set_inline_policy" => &["inline_policy"],
        _ => &[],
    }
}

/// Policies of AWS that allow (nearly) everything, and what they allow.
const MANAGED: [(&str, RiskKind, &str); 3] = [
    ("AdministratorAccess", RiskKind::Admin, "allows everything on every resource"),
    ("IAMFullAccess", RiskKind::Admin, "lets its holder give itself every permission"),
    ("PowerUserAccess", RiskKind::WidePermission, "allows everything but managing people and their permissions"),
];

pub(super) fn permitted(raw: &RawChange, found: &mut Found) {
    let (before, after) = (&raw.change.before, &raw.change.after);
    let wide = |value: &Value| -> BTreeSet<String> {
        policies(&raw.kind).iter().flat_map(|path| texts(value, path)).flat_map(wildcards).collect()
    };
    for action in wide(after).difference(&wide(before)) {
        match action.as_str() {
            "*" => found.add(RiskKind::Admin, "its policy allows everything on every resource (Action *, Resource *)"),
            "!" => {
                found.add(RiskKind::Admin, "its policy allows everything but what NotAction lists, on every resource");
            }
            action => found.add(RiskKind::WidePermission, format!("its policy allows {action} on every resource")),
        }
    }
    if !raw.kind.starts_with("aws_iam_") && !raw.kind.starts_with("aws_ssoadmin_") {
        return;
    }
    let (was, will) = (attached(before), attached(after));
    for (name, kind, what) in MANAGED {
        if will.contains(name) && !was.contains(name) {
            found.add(kind, format!("{name} {what}"));
        }
    }
}

/// Names of the policies that are attached, whatever the attribute is called: `policy_arn`, `managed_policy_arns`.
fn attached(value: &Value) -> BTreeSet<&str> {
    let attributes = value.as_object().into_iter().flat_map(|map| map.keys());
    let arns = attributes.filter(|name| name.ends_with("policy_arn") || name.ends_with("policy_arns"));
    arns.flat_map(|name| texts(value, name))
        .filter_map(|arn| arn.rsplit_once(":policy/").map(|(_, name)| name))
        .collect()
}
