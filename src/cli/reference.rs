//! `docs/cli.md`, made from the commands themselves.

use clap::Args;

/// Print the reference of the command line in Markdown
#[derive(Debug, Clone, Args)]
pub struct Reference {}
