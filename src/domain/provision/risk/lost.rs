//! Data and addresses that are gone afterwards.

use serde_json::Value;

use super::{Found, RiskKind};
use crate::domain::provision::values::{at, entered, number, text, truth};
use crate::domain::provision::{Action, Change, RawChange};

/// Types that hold data, and what is lost with them.
const DATA: [(&str, &str); 36] = [
    ("aws_ami", "servers cannot be started from this image any more"),
    ("aws_backup_vault", "the backups in it are gone"),
    ("aws_cloudwatch_log_group", "its logs are deleted"),
    ("aws_cognito_user_pool", "its users and their passwords are deleted"),
    ("aws_db_cluster_snapshot", "this snapshot is deleted"),
    ("aws_db_snapshot", "this snapshot is deleted"),
    ("aws_docdb_cluster", "the database is deleted"),
    ("aws_dynamodb_table", "the table and its items are deleted"),
    ("aws_ebs_snapshot", "this snapshot is deleted"),
    ("aws_ebs_volume", "the volume and what is on it are deleted"),
    ("aws_efs_file_system", "the file system and its files are deleted"),
    (
        "aws_eks_cluster",
        "the cluster is deleted with everything that runs in it; a new one has another address and issuer",
    ),
    ("aws_elasticache_cluster", "everything in the cache is lost, sessions too"),
    ("aws_elasticache_replication_group", "everything in the cache is lost, sessions too"),
    ("aws_elasticache_serverless_cache", "everything in the cache is lost, sessions too"),
    ("aws_elasticsearch_domain", "its indexes are deleted"),
    ("aws_instance", "what is on its root volume and instance store is lost"),
    ("aws_keyspaces_table", "the table and its rows are deleted"),
    ("aws_kinesis_stream", "records that nobody has read yet are lost"),
    ("aws_kms_external_key", "once the key is gone, what was encrypted with it can never be read again"),
    ("aws_kms_key", "once the key is gone, what was encrypted with it can never be read again"),
    ("aws_kms_replica_key", "in its region, what was encrypted with the key cannot be read any more"),
    ("aws_memorydb_cluster", "everything in it is lost"),
    ("aws_mq_broker", "messages that nobody has read yet are lost"),
    ("aws_msk_cluster", "its topics and their messages are deleted"),
    ("aws_neptune_cluster", "the database is deleted"),
    ("aws_opensearch_domain", "its indexes are deleted"),
    ("aws_rds_global_cluster", "the global database is deleted, and its regions do not copy each other any more"),
    ("aws_redshift_cluster", "the warehouse is deleted"),
    ("aws_s3_directory_bucket", "the bucket is deleted"),
    ("aws_s3_object", "the object is deleted"),
    ("aws_secretsmanager_secret", "the secret and its versions are deleted; what reads it fails"),
    ("aws_sqs_queue", "messages that nobody has read yet are lost"),
    ("aws_ssm_parameter", "the parameter and its history are deleted; what reads it fails"),
    ("aws_timestreamwrite_table", "the table and its records are deleted"),
    ("aws_workspaces_workspace", "what is on the person's volumes is lost"),
];

/// Types that answer at an address, and what becomes of it.
const ADDRESS: [(&str, &str); 14] = [
    ("aws_alb", "its DNS name is lost; a new one has another"),
    ("aws_amplify_app", "its default domain is lost; a new one has another"),
    ("aws_api_gateway_rest_api", "its address is lost; a new one has another"),
    ("aws_apigatewayv2_api", "its address is lost; a new one has another"),
    (
        "aws_cloudfront_distribution",
        "its domain name is lost, and with it whatever points there; a new one has another",
    ),
    ("aws_eip", "the address goes back to Amazon, and cannot be had again"),
    ("aws_elb", "its DNS name is lost; a new one has another"),
    ("aws_globalaccelerator_accelerator", "its addresses are lost, and cannot be had again"),
    ("aws_lambda_function_url", "its address is lost; a new one has another"),
    ("aws_lb", "its DNS name is lost; a new one has another"),
    ("aws_rds_cluster_instance", "its endpoint is lost; where it is the only instance, the database stops"),
    ("aws_route53_delegation_set", "its name servers are lost"),
    (
        "aws_route53_hosted_zone_dnssec",
        "the zone is not signed any more; while its DS record stands at the registrar, its names do not resolve",
    ),
    ("aws_vpn_connection", "its tunnel addresses are lost"),
];

/// What is destroyed, or destroyed and created again.
pub(super) fn lost(raw: &RawChange, change: &Change, found: &mut Found) {
    let before = &raw.change.before;
    match raw.kind.as_str() {
        "aws_db_instance" | "aws_rds_cluster" => found.add(RiskKind::DataLoss, database(before)),
        "aws_s3_bucket" => {
            let what = if truth(before, "force_destroy") == Some(true) {
                "the bucket is deleted with every object in it (force_destroy)"
            } else {
                "the bucket is deleted; if there are objects in it, apply fails midway"
            };
            found.add(RiskKind::DataLoss, what);
        }
        "aws_ecr_repository" => {
            let what = if truth(before, "force_delete") == Some(true) {
                "its images are deleted (force_delete), those that a rollback needs too"
            } else {
                "the repository is deleted; if there are images in it, apply fails midway"
            };
            found.add(RiskKind::DataLoss, what);
        }
        "aws_route53_zone" => {
            let what = format!(
                "every name in {} stops resolving; a new zone has other name servers, which the registrar must be told",
                name_of(before)
            );
            found.add(RiskKind::AddressLoss, what);
        }
        "aws_route53_record" => {
            let kind = text(before, "type").unwrap_or("record");
            let what = match change.action {
                Action::Replace => "does not resolve until the new record is there",
                _ => "stops resolving",
            };
            found.add(RiskKind::AddressLoss, format!("{} ({kind}) {what}", name_of(before)));
        }
        "aws_eks_node_group" => {
            found.add(RiskKind::Outage, "what runs on its nodes stops, until other nodes have room for it");
        }
        kind => {
            if let Some(reason) = reason(&DATA, kind) {
                found.add(RiskKind::DataLoss, reason);
            }
            if let Some(reason) = reason(&ADDRESS, kind) {
                found.add(RiskKind::AddressLoss, reason);
            }
        }
    }
}

fn reason(table: &[(&'static str, &'static str)], kind: &str) -> Option<&'static str> {
    table.iter().find(|(name, _)| *name == kind).map(|(_, reason)| *reason)
}

/// What is left in the world, and in no state any more.
pub(super) fn forgotten(raw: &RawChange, found: &mut Found) {
    let kind = raw.kind.as_str();
    let data = matches!(kind, "aws_db_instance" | "aws_rds_cluster" | "aws_s3_bucket" | "aws_ecr_repository")
        || reason(&DATA, kind).is_some();
    let address = matches!(kind, "aws_route53_zone" | "aws_route53_record") || reason(&ADDRESS, kind).is_some();
    let what = match (data, address) {
        (true, _) => "it stays with its data, and no plan protects or removes it any more",
        (false, true) => "it goes on answering at its address, and no plan changes or removes it any more",
        (false, false) => return,
    };
    found.add(RiskKind::Unmanaged, what);
}

/// What is created in the place of something that may be there.
pub(super) fn taken_over(raw: &RawChange, found: &mut Found) {
    let after = &raw.change.after;
    if raw.kind == "aws_route53_record" && truth(after, "allow_overwrite") == Some(true) {
        let name = name_of(after);
        found.add(RiskKind::AddressLoss, format!("a record {name} that is there is overwritten (allow_overwrite)"));
    }
}

/// Rules that begin to delete objects, or to delete them sooner.
pub(super) fn expired(raw: &RawChange, found: &mut Found) {
    let (rules, enabled) = match raw.kind.as_str() {
        "aws_s3_bucket_lifecycle_configuration" => ("rule", "status"),
        "aws_s3_bucket" => ("lifecycle_rule", "enabled"),
        _ => return,
    };
    let (before, after) = (&raw.change.before, &raw.change.after);
    let on = |rule: &&Value| truth(rule, enabled) == Some(true) || text(rule, enabled) == Some("Enabled");
    let old: Vec<&Value> = at(before, rules).into_iter().flat_map(entered).filter(on).collect();
    for rule in at(after, rules).into_iter().flat_map(entered).filter(on) {
        let id = text(rule, "id").unwrap_or("without a name");
        let was = old.iter().find(|one| text(one, "id") == text(rule, "id"));
        for (path, what) in [
            ("expiration.days", "objects"),
            ("noncurrent_version_expiration.noncurrent_days", "older versions of objects"),
            ("noncurrent_version_expiration.days", "older versions of objects"),
        ] {
            let days = number(rule, path).filter(|days| *days > 0.0);
            let before = was.and_then(|was| number(was, path)).filter(|days| *days > 0.0);
            if let Some(days) = days.filter(|days| before.is_none_or(|before| *days < before)) {
                let sooner = before.map_or(String::new(), |before| format!(", not {before}"));
                let days = if (days - 1.0).abs() < f64::EPSILON { "1 day".to_owned() } else { format!("{days} days") };
                found.add(RiskKind::DataLoss, format!("the rule {id} deletes {what} after {days}{sooner}"));
            }
        }
        if let Some(date) = text(rule, "expiration.date")
            && was.and_then(|was| text(was, "expiration.date")) != Some(date)
        {
            found.add(RiskKind::DataLoss, format!("the rule {id} deletes objects from {date} on"));
        }
    }
}

fn database(before: &Value) -> String {
    let name = text(before, "identifier").or_else(|| text(before, "cluster_identifier"));
    let name = name.map_or("the database".to_owned(), |name| format!("the database {name}"));
    let snapshot = match truth(before, "skip_final_snapshot") {
        Some(true) => "with no final snapshot",
        _ => "a final snapshot is all that is left of it",
    };
    let protected = if truth(before, "deletion_protection") == Some(true) {
        "; deletion protection is on, and apply will fail there"
    } else {
        ""
    };
    format!("{name} and its automated backups are deleted, {snapshot}{protected}")
}

pub(super) fn name_of(before: &Value) -> String {
    text(before, "fqdn").or_else(|| text(before, "name")).unwrap_or("the name").trim_end_matches('.').to_owned()
}
