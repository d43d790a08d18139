//! What is opened to everybody.

use serde_json::Value;

use super::ports::{self, is_everybody};
use super::statement::is_for_everybody;
use super::{Found, RiskKind, permission};
use crate::domain::provision::values::{text, texts, truth, unknown};
use crate::domain::provision::{Action, RawChange};

/// Who writes a policy that is not in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unset {
    /// There is none.
    None,
    /// AWS does: it is "known only after apply" wherever it is not set.
    Filled,
}

/// Where types have policies that say who may use them.
const POLICIES: [(&str, &str, Unset); 21] = [
    ("aws_backup_vault_policy", "policy", Unset::None),
    ("aws_ecr_registry_policy", "policy", Unset::None),
    ("aws_ecr_repository_policy", "policy", Unset::None),
    ("aws_efs_file_system_policy", "policy", Unset::None),
    ("aws_elasticsearch_domain", "access_policies", Unset::Filled),
    ("aws_elasticsearch_domain_policy", "access_policies", Unset::None),
    ("aws_glacier_vault", "access_policy", Unset::None),
    ("aws_iam_role", "assume_role_policy", Unset::None),
    ("aws_kms_external_key", "policy", Unset::Filled),
    ("aws_kms_key", "policy", Unset::Filled),
    ("aws_kms_key_policy", "policy", Unset::None),
    ("aws_kms_replica_key", "policy", Unset::Filled),
    ("aws_opensearch_domain", "access_policies", Unset::Filled),
    ("aws_opensearch_domain_policy", "access_policies", Unset::None),
    ("aws_s3_bucket", "policy", Unset::Filled),
    ("aws_s3_bucket_policy", "policy", Unset::None),
    ("aws_secretsmanager_secret_policy", "policy", Unset::None),
    ("aws_sns_topic", "policy", Unset::Filled),
    ("aws_sns_topic_policy", "policy", Unset::None),
    ("aws_sqs_queue", "policy", Unset::Filled),
    ("aws_sqs_queue_policy", "policy", Unset::None),
];

/// What everybody can reach afterwards and could not before.
pub(super) fn opened(raw: &RawChange, found: &mut Found) {
    ports::opened(raw, found);
    let (before, after) = (&raw.change.before, &raw.change.after);
    let newly = |path: &str, wanted: bool| truth(after, path) == Some(wanted) && truth(before, path) != Some(wanted);
    match raw.kind.as_str() {
        "aws_db_instance" | "aws_rds_cluster_instance" | "aws_redshift_cluster"
            if newly("publicly_accessible", true) =>
        {
            found.add(RiskKind::Exposed, "the database gets a public address");
        }
        "aws_eks_cluster" => cluster(raw, found),
        "aws_s3_bucket_public_access_block" => {
            let fields = ["block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets"];
            if fields.iter().any(|path| newly(path, false)) {
                found.add(RiskKind::Exposed, "the bucket can be made public");
            }
        }
        "aws_s3_bucket_acl" | "aws_s3_bucket" => {
            for (says, reason) in [
                (is_public as fn(&Value) -> bool, "everybody can read the bucket"),
                (is_for_accounts, "everybody with an AWS account can read the bucket"),
            ] {
                if says(after) && !says(before) {
                    found.add(RiskKind::Exposed, reason);
                }
            }
        }
        _ => {}
    }
    for (_, path, _) in POLICIES.iter().filter(|(kind, ..)| *kind == raw.kind) {
        let open = |value| texts(value, path).into_iter().any(is_for_everybody);
        if open(after) && !open(before) {
            let reason = match *path {
                "assume_role_policy" => "anybody with an AWS account can take this role",
                _ => "its policy lets everybody in, without a condition",
            };
            found.add(RiskKind::Exposed, reason);
        }
    }
}

/// The API answers on the internet unless it is told not to, and to everybody unless addresses are named.
fn cluster(raw: &RawChange, found: &mut Found) {
    let open = |value: &Value| {
        let from = texts(value, "vpc_config.public_access_cidrs");
        !value.is_null()
            && truth(value, "vpc_config.endpoint_public_access") != Some(false)
            && (from.is_empty() || from.into_iter().any(is_everybody))
    };
    let (before, after) = (&raw.change.before, &raw.change.after);
    if !open(after) || open(before) {
        return;
    }
    let paths = ["vpc_config.endpoint_public_access", "vpc_config.public_access_cidrs"];
    let later = paths.iter().any(|path| unknown(&raw.change.after_unknown, path));
    let unless = if later { ", unless what is known only after apply says otherwise" } else { "" };
    found.add(RiskKind::Exposed, format!("the cluster's API answers the whole internet{unless}"));
}

const ALL_USERS: &str = "http://acs.amazonaws.com/groups/global/AllUsers";
const ALL_ACCOUNTS: &str = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers";

fn grants_to(value: &Value, group: &str) -> bool {
    ["access_control_policy.grant.grantee.uri", "grant.uri"].iter().any(|path| texts(value, path).contains(&group))
}

fn is_public(value: &Value) -> bool {
    text(value, "acl").is_some_and(|acl| acl.starts_with("public-")) || grants_to(value, ALL_USERS)
}

fn is_for_accounts(value: &Value) -> bool {
    text(value, "acl") == Some("authenticated-read") || grants_to(value, ALL_ACCOUNTS)
}

/// What would have to be known to tell whether a change carries one of these risks, and is known only after apply.
pub(super) fn undecided(raw: &RawChange, kinds: &[RiskKind]) -> Option<&'static str> {
    let unknown = |path: &&'static str| unknown(&raw.change.after_unknown, path);
    let asked = |of: &[RiskKind]| kinds.iter().any(|kind| of.contains(kind));
    if asked(&[RiskKind::Admin, RiskKind::WidePermission])
        && let Some(path) = permission::policies(&raw.kind).iter().find(|path| unknown(path))
    {
        return Some(path);
    }
    if asked(&[RiskKind::Exposed]) {
        // Who may take a role is nearly always put together from what is known only after apply.
        let policy = POLICIES.iter().find(|(kind, path, unset)| {
            let filled = *unset == Unset::Filled && Action::of(&raw.change.actions) != Action::Update;
            *kind == raw.kind && *path != "assume_role_policy" && !filled && unknown(path)
        });
        if let Some((_, path, _)) = policy {
            return Some(path);
        }
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
    if asked(&[RiskKind::AdminPortOpen, RiskKind::Exposed]) {
        return from.iter().find(|path| unknown(path)).copied();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::provision::built_in;

    #[test]
    fn the_rule_about_policies_is_about_each_type_that_has_one() {
        let rule = built_in().iter().find(|rule| rule.name == "policy-public").unwrap();
        let kinds: Vec<&str> = POLICIES.iter().map(|(kind, ..)| *kind).filter(|kind| *kind != "aws_iam_role").collect();
        assert_eq!(rule.types, kinds);
    }
}
