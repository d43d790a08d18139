//! A scenario is data: an incident with a name, what breaks, and what a good engineer does.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::Version;
use crate::error::{Error, Result};

/// File name and text of every scenario, in the order in which `rehearse list` shows them.
const FILES: &[(&str, &str)] = &[
    ("clean", include_str!("scenarios/clean.yaml")),
    ("ci-red", include_str!("scenarios/ci-red.yaml")),
    ("ci-no-checks", include_str!("scenarios/ci-no-checks.yaml")),
    ("ci-red-elsewhere", include_str!("scenarios/ci-red-elsewhere.yaml")),
    ("ci-required-skipped", include_str!("scenarios/ci-required-skipped.yaml")),
    ("soak-short", include_str!("scenarios/soak-short.yaml")),
    ("soak-reset", include_str!("scenarios/soak-reset.yaml")),
    ("rebuilt-bytes", include_str!("scenarios/rebuilt-bytes.yaml")),
    ("staging-unhealthy", include_str!("scenarios/staging-unhealthy.yaml")),
    ("error-spike-staging", include_str!("scenarios/error-spike-staging.yaml")),
    ("approval-denied", include_str!("scenarios/approval-denied.yaml")),
    ("approval-expired", include_str!("scenarios/approval-expired.yaml")),
    ("approval-rule-absent", include_str!("scenarios/approval-rule-absent.yaml")),
    ("workflow-fails", include_str!("scenarios/workflow-fails.yaml")),
    ("image-missing", include_str!("scenarios/image-missing.yaml")),
    ("crash-loop", include_str!("scenarios/crash-loop.yaml")),
    ("image-pull-error", include_str!("scenarios/image-pull-error.yaml")),
    ("never-ready", include_str!("scenarios/never-ready.yaml")),
    ("argo-old-revision", include_str!("scenarios/argo-old-revision.yaml")),
    ("argo-stuck", include_str!("scenarios/argo-stuck.yaml")),
    ("git-push-race", include_str!("scenarios/git-push-race.yaml")),
    ("wrong-cluster", include_str!("scenarios/wrong-cluster.yaml")),
    ("lock-held", include_str!("scenarios/lock-held.yaml")),
    ("api-flaky", include_str!("scenarios/api-flaky.yaml")),
    ("bad-release", include_str!("scenarios/bad-release.yaml")),
    ("rollback-image-expired", include_str!("scenarios/rollback-image-expired.yaml")),
    ("rollback-schema-incompatible", include_str!("scenarios/rollback-schema-incompatible.yaml")),
    ("argo-stuck-during-rollback", include_str!("scenarios/argo-stuck-during-rollback.yaml")),
    ("argo-self-heal", include_str!("scenarios/argo-self-heal.yaml")),
    ("argo-application-set", include_str!("scenarios/argo-application-set.yaml")),
    ("argo-app-of-apps", include_str!("scenarios/argo-app-of-apps.yaml")),
    ("git-down", include_str!("scenarios/git-down.yaml")),
    ("argo-down", include_str!("scenarios/argo-down.yaml")),
    ("overlay-edited-by-others", include_str!("scenarios/overlay-edited-by-others.yaml")),
    ("main-moved", include_str!("scenarios/main-moved.yaml")),
    ("merge-conflict", include_str!("scenarios/merge-conflict.yaml")),
    ("protected-main", include_str!("scenarios/protected-main.yaml")),
    ("hotfix-retriggers-workflow", include_str!("scenarios/hotfix-retriggers-workflow.yaml")),
    ("ecr-immutable-retag", include_str!("scenarios/ecr-immutable-retag.yaml")),
    ("builder-absent", include_str!("scenarios/builder-absent.yaml")),
    ("build-fails", include_str!("scenarios/build-fails.yaml")),
    ("push-denied", include_str!("scenarios/push-denied.yaml")),
    ("multi-platform", include_str!("scenarios/multi-platform.yaml")),
    ("plan-clean", include_str!("scenarios/plan-clean.yaml")),
    ("plan-destroys-database", include_str!("scenarios/plan-destroys-database.yaml")),
    ("plan-over-budget", include_str!("scenarios/plan-over-budget.yaml")),
    ("plan-stale", include_str!("scenarios/plan-stale.yaml")),
    ("apply-fails-midway", include_str!("scenarios/apply-fails-midway.yaml")),
    ("state-locked", include_str!("scenarios/state-locked.yaml")),
    ("drift", include_str!("scenarios/drift.yaml")),
];

/// One YAML file under `scenarios/`, compiled in.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    pub name: String,
    /// One line for `rehearse list`.
    pub summary: String,
    /// What breaks, and when.
    pub breaks: String,
    /// What a good engineer does.
    pub engineer: String,
    /// Documented exit code of each command in this scenario (`promote: 15`).
    pub exit: BTreeMap<String, u8>,
    #[serde(default)]
    pub world: Knobs,
}

impl Scenario {
    /// Every scenario, in the order of `rehearse list`.
    pub fn all() -> Result<Vec<Self>> {
        FILES.iter().map(|(name, text)| parse(name, text)).collect()
    }

    /// The scenario of that name. An unknown name is a usage error that names the nearest one.
    pub fn named(name: &str) -> Result<Self> {
        if let Some((name, text)) = FILES.iter().find(|(known, _)| *known == name) {
            return parse(name, text);
        }
        let near = FILES.iter().map(|(known, _)| (strsim::jaro_winkler(name, known), *known));
        let nearest = near.filter(|(likeness, _)| *likeness > 0.7).max_by(|a, b| a.0.total_cmp(&b.0));
        let error = Error::usage(format!("there is no scenario {name:?}"));
        let error = match nearest {
            Some((_, known)) => error.hint(format!("did you mean {known}?")),
            None => error,
        };
        Err(error.hint("gospel-release rehearse list"))
    }
}

fn parse(name: &str, text: &str) -> Result<Scenario> {
    serde_yaml::from_str(text).map_err(|error| Error::internal(format!("read scenario {name}")).because(error))
}

/// What differs from a clean world. Durations are world time in config's form (`24h`, `8m`).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Knobs {
    pub ci: Ci,
    pub soak: Soak,
    /// The workflow builds the images again: production digests differ from the soaked ones.
    pub rebuild: bool,
    /// This staging service answers 503 on `/ready`.
    pub staging_unhealthy: Option<String>,
    /// This staging service fails 8 % of its requests.
    pub staging_errors: Option<String>,
    pub approval: Approval,
    pub workflow: WorkflowFault,
    /// A production pod of the new version that does not come up.
    pub pod: Option<PodFault>,
    /// A service of the candidate that goes wrong only once it is live.
    pub bad_release: Option<BadRelease>,
    pub argo: ArgoFault,
    /// The Git hosting and its API answer 503 to everything, until somebody repairs them (`urls.control`).
    pub git_down: bool,
    /// What colleagues did on main before the story begins.
    pub past: Vec<Deed>,
    pub main: MainFault,
    pub images: ImageFault,
    /// How docker, buildah and podman fare on the machine of the person who ships a hotfix.
    pub builder: BuilderFault,
    /// What Terraform finds.
    pub infrastructure: Infrastructure,
    /// Others push to main while we work, and a push of ours is refused once.
    pub git_race: bool,
    /// The configured cluster ARN is not the one that answers.
    pub wrong_cluster: bool,
    pub lock: Option<LockHeld>,
    /// Nobody has attested the smoke test of the candidate.
    pub unattested: bool,
    /// Every API answers 429, 500, resets or slowly, this share of the time (0 to 1).
    pub flaky: f64,
    /// World seconds in a wall second, unless somebody says otherwise. Stories in which waits are in wall time
    /// (`Retry-After`) run slower.
    pub speed: Speed,
}

/// World seconds in a wall second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Speed(pub f64);

impl Default for Speed {
    fn default() -> Self {
        Self(3600.0)
    }
}

/// The checks of the candidate's commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ci {
    #[default]
    Green,
    /// One required check failed.
    Red,
    /// Nothing ran at all.
    None,
    /// A required check was skipped.
    RequiredSkipped,
    /// Another workflow has a job by the name of a required check, and it failed before the check itself passed.
    RedElsewhere,
}

/// How long the candidate has run on staging.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Soak {
    /// Hours since the candidate reached staging.
    pub hours: f64,
    /// Another digest ran for half an hour, ending this many hours ago.
    pub interrupted_hours_ago: Option<f64>,
}

impl Default for Soak {
    fn default() -> Self {
        Self { hours: 26.0, interrupted_hours_ago: None }
    }
}

/// The rehearsed reviewer, and the rule that asks for one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Approval {
    /// Whether the environment has required reviewers at all.
    pub rule: bool,
    pub answer: Answer,
    /// World time from the question to the answer.
    pub after: String,
    /// World time after which GitHub gives the waiting job up: 720h (30 days), unless the story shortens it.
    pub expires_after: String,
}

impl Default for Approval {
    fn default() -> Self {
        Self { rule: true, answer: Answer::Approve, after: "8m".into(), expires_after: "720h".into() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    Approve,
    Reject,
    /// Nobody ever answers; the wait expires (see [`Approval::expires_after`]).
    Never,
}

/// What goes wrong in the workflow.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkflowFault {
    /// This job concludes `failure`.
    pub fails: Option<String>,
    /// The image of this service is never pushed, though the job says success.
    pub loses_image: Option<String>,
}

/// A pod that does not come up.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PodFault {
    pub service: String,
    pub kind: PodFaultKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PodFaultKind {
    /// The container exits 1 a second after it starts.
    CrashLoop,
    /// The image cannot be pulled.
    ImagePull,
    /// It runs, and its readiness probe never passes.
    NeverReady,
}

/// What Argo CD does beside its work.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArgoFault {
    /// World time for which it goes on saying Healthy and Synced at the old revision.
    pub stale_for: Option<String>,
    /// An older operation hangs from the start, and blocks every sync until it is terminated.
    pub stuck: bool,
    /// The controller does nothing at all, until somebody repairs it (`urls.control`).
    pub down: bool,
    /// What makes production's Application, and undoes edits of its sync policy.
    pub owner: Option<Owner>,
}

/// What an Application may be made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// An ApplicationSet, `gospelib`: its template can be edited.
    ApplicationSet,
    /// Another Application, `platform`, from a repository of its own ("app of apps").
    Application,
}

/// In production, pods of the candidate's image of this service fail 8 % of their requests, a while after they are
/// ready. Other images of it are well, on staging the same one is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BadRelease {
    pub service: String,
    /// World time from a pod's readiness to its first failures.
    pub after: String,
}

/// A part of the past that only some stories have (`story` in `git/files/history.yaml`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    /// v1.1.1 brought a migration that renames a column which v1.1.0's code reads.
    RenamedColumn,
    /// People changed other parts of the production overlay since v1.1.1.
    OverlayEdits,
    /// Main has another line where a hotfix on v1.1.1 would change it.
    SameLine,
}

/// What happens to pushes to main.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MainFault {
    /// A colleague's commit lands just before our first push to main.
    pub moves: bool,
    /// Branch protection demands a pull request of people; the workflow may push.
    pub protected: bool,
}

/// What ECR has, and what it refuses.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageFault {
    /// A lifecycle rule has deleted this release's image of this service.
    pub expired: Option<Expired>,
    /// The first tag `hotfix-…` that is pushed names an earlier try's bytes already.
    pub retag: bool,
    /// Nobody may push.
    pub push_denied: bool,
    /// Every image is an index over two platforms; nodes name the image of theirs.
    pub multi_platform: bool,
}

/// What is wrong with the builders of images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BuilderFault {
    #[default]
    None,
    /// docker has no engine, and there is nothing else.
    Absent,
    /// A step of every build fails.
    Fails,
}

/// What Terraform plans in this world, and what exists.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Infrastructure {
    pub module: Module,
    /// What main wants and nobody has applied yet: changes of the module's text.
    pub wants: Vec<Edit>,
    /// What somebody changed by hand.
    pub by_hand: Vec<ByHand>,
    pub colleague: Option<Colleague>,
    /// `user@host` of somebody whose apply holds the state's lock, until they are done (`urls.control`).
    pub locked_by: Option<String>,
}

/// Which root module the repository has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Module {
    /// The runbook's infrastructure. No provider can be had in a rehearsal: the stand-in plans it.
    #[default]
    Aws,
    /// Terraform's own `terraform_data`: Terraform itself plans it, where it is installed.
    BuiltIn,
}

/// A text that stands in the module once, and what stands there instead.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    pub from: String,
    pub to: String,
}

/// Something that was changed outside Terraform.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByHand {
    /// `aws_db_instance.postgres`.
    pub address: String,
    /// Attributes as they are now; without any, it is gone.
    #[serde(default)]
    pub set: BTreeMap<String, serde_json::Value>,
}

/// Somebody who applies a change of their own, once, after a plan was made.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Colleague {
    /// `user@host`.
    pub who: String,
    /// World time from the plan to their apply.
    pub after: String,
    pub edits: Vec<Edit>,
}

/// An image that is no longer there.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expired {
    pub service: String,
    pub version: Version,
}

/// Somebody else's run holds the Lease.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockHeld {
    /// `user@host`.
    pub by: String,
    pub run: String,
    /// Whether the holder still renews it.
    pub alive: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_is_its_file_and_says_how_promote_ends() {
        for ((file, _), scenario) in FILES.iter().zip(Scenario::all().unwrap()) {
            assert_eq!(*file, scenario.name);
            assert!(scenario.exit.contains_key("promote"), "{file}");
            assert!(!scenario.breaks.is_empty() && !scenario.engineer.is_empty(), "{file}");
        }
        assert_eq!(FILES.len(), 50);
        assert!(Scenario::named("clean").unwrap().world.soak.hours > 24.0);
    }

    #[test]
    fn an_unknown_name_gets_the_nearest_one() {
        let error = Scenario::named("crashloop").unwrap_err();
        assert_eq!(error.hints()[0], "did you mean crash-loop?");
    }
}
