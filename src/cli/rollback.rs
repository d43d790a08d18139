//! `rollback`.

use clap::Args;

use crate::domain::{ServiceName, Version};

/// Go back to a release that ran before: one commit that Argo CD syncs, verified by digest
///
/// Images, secrets and schema are looked at first. It is never held up by a freeze, a red checklist or a missing approval, and down
/// migrations are never run.
#[derive(Debug, Clone, Args)]
pub struct Rollback {
    /// The release to go back to [default: the last one that was verified healthy and is not in quarantine]
    #[arg(long, value_name = "VERSION")]
    pub to: Option<Version>,

    /// Only this service (may be given more than once); the others stay as they are
    #[arg(long = "service", value_name = "NAME")]
    pub services: Vec<ServiceName>,

    /// Why, for the record, the commit and the team
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,

    /// Past Git, for when Git hosting or Argo CD is down: apply the images now, commit when it can; a debt until then
    #[arg(long)]
    pub direct: bool,

    /// With --direct: pause automated sync, which would undo it, until Git agrees
    #[arg(long, requires = "direct")]
    pub pause_sync: bool,

    /// End an Argo CD operation of somebody else that is in the way
    #[arg(long)]
    pub terminate_sync: bool,

    /// The old code is known to run on the schema that stays (needs --reason)
    #[arg(long)]
    pub accept_schema: bool,

    /// Have the run that holds the lock stopped: a live one at its next safe point, and a dead one's lock is taken
    #[arg(long)]
    pub takeover: bool,
}
