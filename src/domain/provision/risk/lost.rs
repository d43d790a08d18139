//! Data and addresses that are gone afterwards.

use serde_json::Value;

use super::{Found, RiskKind};
use crate::domain::provision::values::{text, texts, truth};
use crate::domain::provision::{Action, Change, RawChange};

/// Types that hold data, and what is lost with them.
const DATA: [(&str, &str); 31] = [
    ("aws_ami", "servers cannot be started from this image any more"),
    ("aws_backup_vault", "the backups in it are gone"),
    ("aws_cloudwatch_log_group", "its logs are deleted"),
    ("aws_cognito_user_pool", "its users and their passwords are deleted"),
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
    ("aws_kms_key", "once the key is gone, what was encrypted with it can never be read again"),
    ("aws_memorydb_cluster", "everything in it is lost"),
    ("aws_mq_broker", "messages that nobody has read yet are lost"),
    ("aws_msk_cluster", "its topics and their messages are deleted"),
    ("aws_neptune_cluster", "the database is deleted"),
    ("aws_opensearch_domain", "its indexes are deleted"),
    ("aws_redshift_cluster", "the warehouse is deleted"),
    ("aws_s3_directory_bucket", "the bucket is deleted"),
    ("aws_secretsmanager_secret", "the secret and its versions are deleted; what reads it fails"),
    ("aws_sqs_queue", "messages that nobody has read yet are lost"),
    ("aws_ssm_parameter", "the parameter and its history are deleted; what reads it fails"),
    ("aws_timestreamwrite_table", "the table and its records are deleted"),
    ("aws_workspaces_workspace", "what is on the person's volumes is lost"),
];

/// Types that answer at an address, and what becomes of it.
const ADDRESS: [(&str, &str); 12] = [
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
    ("aws_route53_delegation_set", "its name servers are lost"),
    ("aws_vpn_connection", "its tunnel addresses are lost"),
];

/// What is destroyed, or destroyed and created again.
pub(super) fn lost(raw: &RawChange, change: &Change, found: &mut Found<'_>) {
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
        kind => {
            let reason = |table: &[(&'static str, &'static str)]| {
                table.iter().find(|(name, _)| *name == kind).map(|(_, reason)| *reason)
            };
            if let Some(reason) = reason(&DATA) {
                found.add(RiskKind::DataLoss, reason);
            }
            if let Some(reason) = reason(&ADDRESS) {
                found.add(RiskKind::AddressLoss, reason);
            }
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

fn name_of(before: &Value) -> String {
    text(before, "fqdn").or_else(|| text(before, "name")).unwrap_or("the name").trim_end_matches('.').to_owned()
}

/// What stays, and answers elsewhere, or for fewer names; and upgrades that have no way back.
pub(super) fn moved_away(raw: &RawChange, found: &mut Found<'_>) {
    let (before, after) = (&raw.change.before, &raw.change.after);
    match raw.kind.as_str() {
        "aws_route53_record" => {
            let targets = |value| [texts(value, "records"), texts(value, "alias.name")].concat();
            if targets(before) != targets(after) {
                let to = targets(after).join(", ");
                let to = if to.is_empty() { "what is known only after apply".to_owned() } else { to };
                let from = targets(before).join(", ");
                found.add(RiskKind::AddressLoss, format!("{} points away from {from}, to {to}", name_of(before)));
            }
        }
        "aws_cloudfront_distribution" => {
            if truth(before, "enabled") == Some(true) && truth(after, "enabled") == Some(false) {
                found.add(RiskKind::AddressLoss, "the distribution is switched off, and answers nobody");
            }
            let (old, new) = (texts(before, "aliases"), texts(after, "aliases"));
            let gone: Vec<&str> = old.into_iter().filter(|name| !new.contains(name)).collect();
            if !gone.is_empty() {
                found.add(RiskKind::AddressLoss, format!("it does not answer for {} any more", gone.join(", ")));
            }
        }
        "aws_db_instance" | "aws_rds_cluster" => upgraded(before, after, "engine_version", found),
        "aws_eks_cluster" => upgraded(before, after, "version", found),
        _ => {}
    }
}

/// A new major version of a database, or any new version of a cluster.
fn upgraded(before: &Value, after: &Value, path: &str, found: &mut Found<'_>) {
    let (Some(old), Some(new)) = (text(before, path), text(after, path)) else { return };
    let major = |version: &str| version.split('.').next().unwrap_or_default().to_owned();
    let differs = if path == "version" { old != new } else { major(old) != major(new) };
    if differs {
        found.add(RiskKind::OneWay, format!("{old} becomes {new}, and there is no way back to {old}"));
    }
}
