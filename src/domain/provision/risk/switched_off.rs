//! Protection and backups that are switched off.

use serde_json::Value;

use super::{Found, RiskKind};
use crate::domain::provision::RawChange;
use crate::domain::provision::values::{number, text, truth};

/// Truths that guard while they are true.
const GUARDS: [(&str, &str); 6] = [
    ("deletion_protection", "deletion protection is switched off: the next plan can delete it"),
    ("deletion_protection_enabled", "deletion protection is switched off: the next plan can delete it"),
    ("enable_deletion_protection", "deletion protection is switched off: the next plan can delete it"),
    ("disable_api_termination", "termination protection is switched off: the next plan can end it"),
    ("storage_encrypted", "its storage is not encrypted any more"),
    ("encrypted", "it is not encrypted any more"),
];

/// Truths that are dangerous while they are true.
const DANGERS: [(&str, &str); 3] = [
    ("skip_final_snapshot", "when it is deleted, no final snapshot will be made"),
    ("force_destroy", "when it is deleted, every object in it will be deleted too"),
    ("force_delete", "when it is deleted, everything in it will be deleted too"),
];

/// Numbers that mean "none" when they are 0.
const KEPT: [(&str, &str); 3] = [
    ("backup_retention_period", "automated backups are switched off, and those that exist are deleted"),
    ("snapshot_retention_limit", "automated snapshots are switched off"),
    ("automated_snapshot_retention_period", "automated snapshots are switched off"),
];

/// What was on and will be off.
pub(super) fn switched_off(raw: &RawChange, found: &mut Found<'_>) {
    let (before, after) = (&raw.change.before, &raw.change.after);
    let turned = |path: &str, from: bool| truth(before, path) == Some(from) && truth(after, path) == Some(!from);
    for (path, reason) in GUARDS {
        if turned(path, true) {
            found.add(RiskKind::ProtectionOff, reason);
        }
    }
    for (path, reason) in DANGERS {
        // Of a bucket that was not there before, nothing is at stake.
        if turned(path, false) {
            found.add(RiskKind::ProtectionOff, reason);
        }
    }
    for (path, reason) in KEPT {
        if number(before, path).is_some_and(|days| days > 0.0) && number(after, path) == Some(0.0) {
            found.add(RiskKind::BackupsOff, reason);
        }
    }
    if turned("point_in_time_recovery.enabled", true) {
        found.add(RiskKind::BackupsOff, "point-in-time recovery is switched off");
    }
    if text(before, "deletion_protection") == Some("ACTIVE") && text(after, "deletion_protection") == Some("INACTIVE") {
        found.add(RiskKind::ProtectionOff, "deletion protection is switched off: the next plan can delete it");
    }
    if raw.kind == "aws_s3_bucket_versioning" && versioned(before) && !versioned(after) {
        found.add(RiskKind::BackupsOff, VERSIONING);
    }
}

const VERSIONING: &str = "versioning is switched off: what is overwritten or deleted from then on is gone";

fn versioned(value: &Value) -> bool {
    text(value, "versioning_configuration.status") == Some("Enabled")
}

/// A resource whose only meaning is protection goes away.
pub(super) fn guard_gone(raw: &RawChange, found: &mut Found<'_>) {
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
