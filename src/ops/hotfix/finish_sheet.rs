//! What a person reads before a hotfix is finished.

use crate::config::Config;
use crate::config::model::TagRun;
use crate::domain::{WorldId, count, printable, sheet};

use super::finish::{Found, Options};

/// Commits shown by name; the rest is counted.
const SHOWN: usize = 8;

pub(super) struct Sheet<'a> {
    pub found: &'a Found,
    pub options: &'a Options,
    pub config: &'a Config,
}

impl Sheet<'_> {
    /// The sheet as text, at most 80 columns where names allow.
    pub fn text(&self, world: &WorldId) -> String {
        let Found { commit, base, version, .. } = self.found;
        let main = &self.config.repository.main;
        let mut lines = vec![
            String::new(),
            format!("Finish {} ({}) as {version}", self.options.branch, commit.short()),
            format!("  in         {}", world.cluster),
            format!("  on top of  {} ({})", base.version, base.commit.short()),
        ];
        let commits = self.found.commits.iter().take(SHOWN).map(|info| printable(&info.subject));
        lines.extend(commits.enumerate().map(|(index, subject)| labelled("commits", index, &subject)));
        let more = self.found.commits.len().saturating_sub(SHOWN);
        lines.extend((more > 0).then(|| format!("             and {} more", count(more, "commit"))));
        let tag = self.config.repository.tags.tag(version);
        lines.push(if self.found.tagged {
            format!("  tag        {tag} is there")
        } else {
            format!("  tag        {tag}, annotated, on {}; it is never moved", commit.short())
        });
        lines.push(format!("  workflow   {}", self.workflow()));
        let newer = match self.found.newer_on_main {
            0 => String::new(),
            newer => format!(", which has {} that it has not", count(newer, "commit")),
        };
        lines.push(format!("  merge      to {main}{newer}; a pull request where {main} takes no pushes"));
        if let Some(run) = &self.options.gives_up {
            lines.push(format!("  gives up   run {run}, an earlier try: it is closed as it stands"));
        }
        lines.push(String::new());
        sheet(&lines)
    }

    fn workflow(&self) -> String {
        let file = &self.config.workflow.file;
        match self.config.hotfix.workflow {
            TagRun::Cancel => {
                format!("the tag starts {file}: its run is cancelled, since production runs the hotfix already")
            }
            TagRun::Follow => format!(
                "the tag starts {file}: its run is followed to its end, with an approval; it builds every image anew, and deploys them"
            ),
        }
    }
}

fn labelled(label: &str, index: usize, text: &str) -> String {
    let label = if index == 0 { label } else { "" };
    format!("  {label:<10} {text}")
}
