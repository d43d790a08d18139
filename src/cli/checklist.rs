//! `checklist`, and `checklist attest`.

use clap::{Args, Subcommand};

/// Check every gate of a release, and change nothing
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = false)]
pub struct Checklist {
    #[command(subcommand)]
    pub action: Option<Action>,

    /// Waive what a first release cannot have: last tag, baseline, rollback target
    #[arg(long)]
    pub first_release: bool,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Action {
    Attest(Attest),
}

/// Record what only a person can see, for the build that staging runs now
#[derive(Debug, Clone, Args)]
pub struct Attest {
    /// The gate
    #[arg(value_name = "GATE", value_enum)]
    pub gate: AttestedGate,

    /// What was tried, and what was seen
    #[arg(long, value_name = "TEXT", value_parser = not_blank)]
    pub note: String,

    /// Where others can look: a recording, a ticket, a test report
    #[arg(long, value_name = "URL", value_parser = web_link)]
    pub link: String,

    /// Who saw it; by default user@host
    #[arg(long, value_name = "NAME", value_parser = not_blank)]
    pub who: Option<String>,
}

/// The gates that a person answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum AttestedGate {
    /// Manual smoke tests of the critical user flows on staging
    Smoke,
}

impl AttestedGate {
    /// The gate's id.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Smoke => "smoke",
        }
    }
}

fn not_blank(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() { Err("it is empty".into()) } else { Ok(text.to_owned()) }
}

fn web_link(text: &str) -> Result<String, String> {
    let parsed = url::Url::parse(text.trim()).map_err(|error| format!("{error} (for example https://…)"))?;
    if matches!(parsed.scheme(), "http" | "https") { Ok(parsed.into()) } else { Err("it is not http or https".into()) }
}
