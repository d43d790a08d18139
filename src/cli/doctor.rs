//! `doctor`.

use clap::Args;

/// Check tools, credentials, identities, reachability, and that the approval and tag rules really exist
#[derive(Debug, Clone, Args)]
pub struct Doctor {}
