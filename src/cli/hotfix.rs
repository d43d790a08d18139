//! `hotfix start`, `hotfix ship`, `hotfix finish`.

use clap::{Args, Subcommand, ValueEnum};

use super::promote::Consent;
use crate::config::model::BuilderName;
use crate::domain::{HotfixName, ServiceName, Version};

/// Mend production at once: branch from what it runs
#[derive(Debug, Clone, Args)]
pub struct Hotfix {
    #[command(subcommand)]
    pub action: Action,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Action {
    Start(Start),
    Ship(Ship),
    Finish(Finish),
}

/// Make the branch hotfix/NAME from the release that production runs, and switch to it
#[derive(Debug, Clone, Args)]
pub struct Start {
    /// What the hotfix is called: lower-case letters, digits and '-'
    pub name: HotfixName,

    /// The release to begin from [default: the one that production runs]
    #[arg(long, value_name = "VERSION")]
    pub from: Option<Version>,
}

/// Build the branch's commit, push it, and bring it to production by digest; verified as a release is
///
/// The services are those whose code differs from the release beneath. Each gate that is gone without is waived by name, with the
/// reason, and stays a debt until the next release.
#[derive(Debug, Clone, Args)]
pub struct Ship {
    /// Why, for the record, the commit and the team; needed
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,

    /// Ship this service (may be given more than once) [default: those whose code changed]
    #[arg(long = "service", value_name = "NAME")]
    pub services: Vec<ServiceName>,

    /// Past Git, for when Git hosting or Argo CD is down: apply the images now, commit when it can; a debt until then
    #[arg(long)]
    pub direct: bool,

    /// With --direct: pause automated sync, which would undo it, until Git agrees
    #[arg(long, requires = "direct")]
    pub pause_sync: bool,

    /// End an Argo CD operation of somebody else that is in the way
    #[arg(long)]
    pub terminate_sync: bool,

    /// Build with this program [default: hotfix.builder, or the first that works]
    #[arg(long, value_name = "NAME", value_enum)]
    pub builder: Option<With>,

    /// Take over the lock of a run whose holder is dead
    #[arg(long)]
    pub takeover: bool,
}

/// Give what production runs its release tag, and merge it to main
///
/// The tag starts the release workflow: its run is cancelled, or followed to its end (`hotfix.workflow`), and never left waiting.
/// Where main takes no pushes, a pull request is opened. A conflict stops with 11 and the commands to go on with.
#[derive(Debug, Clone, Args)]
pub struct Finish {
    /// The hotfix [default: the one whose branch the checkout is on]
    pub name: Option<HotfixName>,

    #[command(flatten)]
    pub consent: Consent,
}

/// What builds images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum With {
    Docker,
    Buildah,
    Podman,
}

impl From<With> for BuilderName {
    fn from(with: With) -> Self {
        match with {
            With::Docker => Self::Docker,
            With::Buildah => Self::Buildah,
            With::Podman => Self::Podman,
        }
    }
}
