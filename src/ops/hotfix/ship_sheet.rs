//! What a person reads before a hotfix ships: few words, one decision.

use crate::config::Config;
use crate::domain::{ServiceName, WorldId, count, printable, sheet};
use crate::gates::hotfix::WITHOUT;

use super::ship::{Found, Options, runs_now};

/// Paths shown by name; the rest is counted.
const SHOWN: usize = 8;

pub(super) struct Sheet<'a> {
    pub found: &'a Found,
    pub options: &'a Options,
    pub config: &'a Config,
}

impl Sheet<'_> {
    /// The sheet as text, at most 80 columns where names allow.
    pub fn text(&self, world: &WorldId) -> String {
        let work = &self.found.work;
        let services = names(&self.options.services);
        let mut lines = vec![
            String::new(),
            format!("Ship {} ({}) to production", work.name.branch(), work.commit.short()),
            format!("  in         {}", world.cluster),
            format!("             namespace {}", world.namespace),
            format!("  runs now   {}", runs_now(self.found.live.as_ref())),
            format!("  on top of  {} ({})", work.base.version, work.base.commit.short()),
            format!("  changes    {}", paths(&work.changed)),
            format!("  services   {services}; the others stay as they are"),
        ];
        if !self.found.left_out.is_empty() {
            lines.push(format!("  left out   {}: changed, and not shipped", names(&self.found.left_out)));
        }
        if !self.found.elsewhere.is_empty() {
            lines.push(format!("  not built  {}: outside every service", paths(&self.found.elsewhere)));
        }
        lines.extend(self.shared());
        let tag = work.commit.hotfix_tag();
        lines.push(match self.found.builder {
            Some(builder) => format!("  build      {} from the commit, tag {tag}", builder.program()),
            None => format!("  build      none: {tag} is in ECR"),
        });
        lines.push(format!("  how        {}", self.how()));
        if self.options.pause_sync {
            lines.extend(self.found.paused_with.as_ref().map(|with| format!("  pauses     {with}")));
        }
        let without: Vec<&str> = WITHOUT.iter().map(|(id, _)| *id).collect();
        lines.push(format!("  without    {}: waived by name, a debt each", without.join(", ")));
        lines.push(
            "  afterwards gospel-release hotfix finish: release tag, merge to main; a debt until then".to_owned(),
        );
        lines.push(format!("  reason     {}", printable(self.options.reason.as_deref().unwrap_or_default())));
        if let Some(run) = &self.options.gives_up {
            lines.push(format!("  gives up   run {run}, an earlier try of this hotfix: it is closed as it stands"));
        }
        lines.push(String::new());
        sheet(&lines)
    }

    /// What belongs to no service, and is built into some all the same.
    fn shared(&self) -> Vec<String> {
        let shared = &self.found.shared;
        if shared.files.is_empty() {
            return Vec::new();
        }
        let (shipped, not): (Vec<ServiceName>, Vec<ServiceName>) =
            shared.services.iter().cloned().partition(|name| self.options.services.contains(name));
        let mut lines = vec![format!("  shared     {}: of no one service", paths(&shared.files))];
        if !shipped.is_empty() {
            lines.push(format!("             built into {}, if it uses that", names(&shipped)));
        }
        if !not.is_empty() {
            lines.push(format!("             not shipped: {}, which may use that too (--service NAME)", names(&not)));
        }
        lines
    }

    fn how(&self) -> String {
        if self.options.direct {
            let sync = if self.options.pause_sync { "; automated sync is paused meanwhile" } else { "" };
            return format!("images are applied directly, past Git; the commit follows when it can{sync}: a debt");
        }
        format!(
            "by digest, in one commit to {} on {}, which Argo CD syncs",
            self.config.production.kustomization(),
            self.config.repository.main
        )
    }
}

fn names(services: &[ServiceName]) -> String {
    let names: Vec<&str> = services.iter().map(ServiceName::as_str).collect();
    names.join(", ")
}

fn paths(paths: &[String]) -> String {
    let shown: Vec<String> = paths.iter().take(SHOWN).map(|path| printable(path)).collect();
    let more = paths.len().saturating_sub(SHOWN);
    if more > 0 { format!("{} and {} more", shown.join(", "), count(more, "file")) } else { shown.join(", ") }
}
