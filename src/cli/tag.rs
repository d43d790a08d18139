//! `tag`.

use clap::Args;

use crate::domain::Version;

/// Suggest the next version, or make its release tag on the candidate's commit and push it
///
/// Without VERSION it only suggests, from the conventional commits since the last release. With VERSION it makes the
/// annotated tag and pushes that one ref, after confirmation. A release tag is never moved.
#[derive(Debug, Clone, Args)]
pub struct Tag {
    /// The version to tag
    pub version: Option<Version>,

    /// Make the tag here, without pushing it
    #[arg(long, requires = "version")]
    pub no_push: bool,
}
