//! Incidents and the way out of them: `rollback` and `hotfix` against every scenario that was made for them.

/// Scenarios of `rollback` and `hotfix`.
pub const FOR_ROLLBACK_AND_HOTFIX: &[&str] = &[
    "bad-release",
    "rollback-image-expired",
    "rollback-schema-incompatible",
    "argo-stuck-during-rollback",
    "argo-self-heal",
    "git-down",
    "argo-down",
    "overlay-edited-by-others",
    "main-moved",
    "merge-conflict",
    "protected-main",
    "hotfix-retriggers-workflow",
    "ecr-immutable-retag",
    "builder-absent",
    "build-fails",
    "push-denied",
];
