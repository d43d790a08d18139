//! Protection and backups that are switched off.

use serde_json::Value;

use super::{Found, RiskKind};
use crate::domain::provision::RawChange;
use crate::domain::provision::values::{number, text, truth, unknown};

/// Truths that guard while they are true.
const GUARDS: [(&str, &str); 8] = [
    ("deletion_protection", DELETION),
    ("deletion_protection_enabled", DELETION),
    ("enable_deletion_protection", DELETION),
    ("disable_api_termination", "termination protection is switched off: the next plan can end it"),
    ("storage_encrypted", "its storage is not encrypted any more"),
    ("encrypted", "it is not encrypted any more"),
    ("transit_encryption_enabled", "connections to it are not encrypted any more"),
    ("at_rest_encryption_enabled", "what it keeps is not encrypted any more"),
];

const DELETION: &str = "deletion protection is switched off: the next plan can delete it";

/// Truths that are dangerous while they are true.
const DANGERS: [(&str, &str); 3] = [
    ("skip_final_snapshot", "when it is deleted, no final snapshot will be made"),
    ("force_destroy", "when it is deleted, every object in it will be deleted too"),
    ("force_delete", "when it is deleted, everything in it will be deleted too"),
];

/// Days that backups are kept; 0 means that none are made.
const KEPT: [(&str, &str, &str); 3] = [
    (
        "backup_retention_period",
        "automated backups",
        "automated backups are switched off, and those that exist are deleted",
    ),
    ("snapshot_retention_limit", "automated snapshots", "automated snapshots are switched off"),
    ("automated_snapshot_retention_period", "automated snapshots", "automated snapshots are switched off"),
];

const VERSIONING: &str = "versioning is switched off: what is overwritten or deleted from then on is gone";

/// What was on and will be off, also because its line is gone.
pub(super) fn switched_off(raw: &RawChange, found: &mut Found) {
    let (before, after) = (&raw.change.before, &raw.change.after);
    for (path, reason) in GUARDS {
        turned_off(raw, path, RiskKind::ProtectionOff, reason, found);
    }
    for (path, reason) in DANGERS {
        // Of a bucket that was not there before, nothing is at stake.
        if truth(before, path) != Some(true) && truth(after, path) == Some(true) {
            found.add(RiskKind::ProtectionOff, reason);
        }
    }
    for kept in KEPT {
        kept_shorter(raw, kept, found);
    }
    let recovery = "point-in-time recovery is switched off";
    turned_off(raw, "point_in_time_recovery.enabled", RiskKind::BackupsOff, recovery, found);
    if text(before, "deletion_protection") == Some("ACTIVE") && text(after, "deletion_protection") != Some("ACTIVE") {
        may(raw, "deletion_protection", RiskKind::ProtectionOff, DELETION, found);
    }
    match raw.kind.as_str() {
        "aws_s3_bucket_versioning" if versioned(before) && !versioned(after) => {
            may(raw, "versioning_configuration.status", RiskKind::BackupsOff, VERSIONING, found);
        }
        "aws_s3_bucket" => turned_off(raw, "versioning.enabled", RiskKind::BackupsOff, VERSIONING, found),
        _ => {}
    }
}

fn turned_off(raw: &RawChange, path: &str, kind: RiskKind, reason: &str, found: &mut Found) {
    if truth(&raw.change.before, path) == Some(true) && truth(&raw.change.after, path) != Some(true) {
        may(raw, path, kind, reason, found);
    }
}

/// Adds the reason, or that it cannot be told yet.
fn may(raw: &RawChange, path: &str, kind: RiskKind, reason: &str, found: &mut Found) {
    if unknown(&raw.change.after_unknown, path) {
        found.add(kind, format!("{path} may be switched off: known only after apply"));
    } else {
        found.add(kind, reason);
    }
}

fn kept_shorter(raw: &RawChange, (path, what, off): (&str, &str, &str), found: &mut Found) {
    let Some(old) = number(&raw.change.before, path).filter(|days| *days > 0.0) else { return };
    match number(&raw.change.after, path) {
        Some(new) if new >= old => {}
        Some(new) if new > 0.0 => {
            let days = if (new - 1.0).abs() < f64::EPSILON { "1 day".to_owned() } else { format!("{new} days") };
            found.add(RiskKind::BackupsOff, format!("{what} are kept {days}, not {old}; older ones are deleted"));
        }
        _ => may(raw, path, RiskKind::BackupsOff, off, found),
    }
}

fn versioned(value: &Value) -> bool {
    text(value, "versioning_configuration.status") == Some("Enabled")
}

/// A resource whose only meaning is protection goes away.
pub(super) fn guard_gone(raw: &RawChange, found: &mut Found) {
    match raw.kind.as_str() {
        "aws_s3_bucket_versioning" if versioned(&raw.change.before) => found.add(RiskKind::BackupsOff, VERSIONING),
        "aws_s3_bucket_public_access_block" => {
            found.add(RiskKind::Exposed, "nothing keeps the bucket from being made public any more");
        }
        "aws_backup_plan" | "aws_backup_selection" | "aws_dlm_lifecycle_policy" => {
            found.add(RiskKind::BackupsOff, "what it backed up is not backed up any more");
        }
        "aws_db_instance_automated_backups_replication" => {
            found.add(RiskKind::BackupsOff, "backups are not copied to the other region any more");
        }
        _ => {}
    }
}
