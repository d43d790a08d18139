//! What stays, and answers elsewhere, or for fewer names, or not at all; and upgrades that have no way back.

use serde_json::Value;

use super::lost::name_of;
use super::{Found, RiskKind};
use crate::domain::provision::RawChange;
use crate::domain::provision::values::{number, text, texts, truth, unknown};

pub(super) fn moved(raw: &RawChange, found: &mut Found) {
    let (before, after) = (&raw.change.before, &raw.change.after);
    match raw.kind.as_str() {
        "aws_route53_record" => record(raw, found),
        "aws_cloudfront_distribution" => distribution(raw, found),
        "aws_db_instance" | "aws_rds_cluster" => {
            upgraded(before, after, "engine_version", found);
            for path in ["identifier", "cluster_identifier", "port"] {
                endpoint(raw, path, found);
            }
        }
        "aws_rds_cluster_instance" => endpoint(raw, "identifier", found),
        "aws_elasticache_replication_group" | "aws_elasticache_cluster" => {
            upgraded(before, after, "engine_version", found);
        }
        "aws_eks_cluster" => upgraded(before, after, "version", found),
        "aws_eks_node_group" => {
            let wanted = |value| number(value, "scaling_config.desired_size");
            if wanted(before).is_some_and(|nodes| nodes > 0.0) && wanted(after) == Some(0.0) {
                found.add(RiskKind::Outage, "no node is left in the group: what runs on its nodes stops");
            }
        }
        "aws_kms_key" | "aws_kms_external_key" | "aws_kms_replica_key" => {
            for path in ["is_enabled", "enabled"] {
                if truth(before, path) == Some(true) && truth(after, path) == Some(false) {
                    found.add(
                        RiskKind::DataLoss,
                        "while the key is disabled, what was encrypted with it cannot be read",
                    );
                }
            }
        }
        _ => {}
    }
}

fn record(raw: &RawChange, found: &mut Found) {
    let (before, after) = (&raw.change.before, &raw.change.after);
    let targets = |value| [texts(value, "records"), texts(value, "alias.name")].concat();
    if targets(before) != targets(after) {
        let to = targets(after).join(", ");
        let to = if to.is_empty() { "what is known only after apply".to_owned() } else { to };
        let from = targets(before).join(", ");
        found.add(RiskKind::AddressLoss, format!("{} points away from {from}, to {to}", name_of(before)));
    }
    let weight = |value| number(value, "weighted_routing_policy.weight");
    if weight(before).is_some_and(|weight| weight > 0.0) && weight(after) == Some(0.0) {
        found.add(
            RiskKind::AddressLoss,
            format!("this record of {} gets no requests any more (weight 0)", name_of(before)),
        );
    }
}

fn distribution(raw: &RawChange, found: &mut Found) {
    let (before, after) = (&raw.change.before, &raw.change.after);
    let marks = &raw.change.after_unknown;
    if truth(before, "enabled") == Some(true) && truth(after, "enabled") == Some(false) {
        found.add(RiskKind::AddressLoss, "the distribution is switched off, and answers nobody");
    }
    let gone = |path: &str| {
        let new = texts(after, path);
        let gone = texts(before, path).into_iter().filter(|name| !new.contains(name));
        Some(gone.collect::<Vec<_>>().join(", ")).filter(|names| !names.is_empty())
    };
    if let Some(names) = gone("aliases") {
        let reason = if unknown(marks, "aliases") {
            format!("it may not answer for {names} any more: known only after apply")
        } else {
            format!("it does not answer for {names} any more")
        };
        found.add(RiskKind::AddressLoss, reason);
    }
    if let Some(names) = gone("origin.domain_name") {
        let to = texts(after, "origin.domain_name").join(", ");
        let to = if to.is_empty() { "what is known only after apply".to_owned() } else { to };
        found.add(RiskKind::AddressLoss, format!("what it serves does not come from {names} any more, but from {to}"));
    }
}

/// An address that is made of an attribute.
fn endpoint(raw: &RawChange, path: &str, found: &mut Found) {
    let shown = |value: &Value| text(value, path).map(str::to_owned).or_else(|| Some(number(value, path)?.to_string()));
    let Some(old) = shown(&raw.change.before) else { return };
    let new = match shown(&raw.change.after) {
        Some(new) => new,
        None if unknown(&raw.change.after_unknown, path) => "what is known only after apply".to_owned(),
        None => return,
    };
    if old != new {
        let what = if path == "port" { "the port" } else { "the endpoint" };
        found.add(
            RiskKind::AddressLoss,
            format!("{what} moves from {old} to {new}: what connects to the old one fails"),
        );
    }
}

/// A new major version of a database, or any new version of a cluster.
fn upgraded(before: &Value, after: &Value, path: &str, found: &mut Found) {
    let (Some(old), Some(new)) = (text(before, path), text(after, path)) else { return };
    // MySQL and MariaDB call 8.0 and 8.4 major versions.
    let two = text(after, "engine").is_some_and(|engine| ["mysql", "mariadb", "aurora-mysql"].contains(&engine));
    let major = |version: &str| -> Vec<String> {
        version.split('.').take(if two { 2 } else { 1 }).map(str::to_owned).collect()
    };
    let differs = if path == "version" {
        old != new
    } else {
        // A version that is written with fewer numbers says nothing about the others.
        major(old).iter().zip(&major(new)).any(|(old, new)| old != new)
    };
    if differs {
        found.add(RiskKind::OneWay, format!("{old} becomes {new}, and there is no way back to {old}"));
    }
}
