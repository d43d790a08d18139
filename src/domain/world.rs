//! Which production this is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The identity of the world that a run changes; a run is resumed only in the world it began in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorldId {
    pub kind: WorldKind,
    /// AWS account of production (12 digits), where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The cluster's ARN, or `kube-system:<uid>` for a cluster that is not EKS.
    pub cluster: String,
    /// The production namespace.
    pub namespace: String,
    /// `owner/name` on GitHub.
    pub repository: String,
}

/// Whether what answers is real. Evidence from a rehearsal or a mixed world never satisfies a real gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorldKind {
    /// No endpoint is on this machine.
    Real,
    /// Some endpoints are on this machine.
    Mixed,
    /// Every endpoint is the rehearsal's.
    Rehearsal,
}

impl fmt::Display for WorldKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Real => "real",
            Self::Mixed => "mixed",
            Self::Rehearsal => "rehearsal",
        })
    }
}

impl fmt::Display for WorldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} / {} / {}", self.cluster, self.namespace, self.repository)?;
        if self.kind == WorldKind::Real { Ok(()) } else { write!(f, " ({})", self.kind) }
    }
}
