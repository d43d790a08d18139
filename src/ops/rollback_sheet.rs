//! What a person reads before going back: few words, one decision.

use crate::config::Config;
use crate::domain::{Digest, ServiceName, WorldId, count, printable, sheet};
use crate::error::Error;

use super::rollback::{Found, Options};

/// Images shown by name; the rest is counted.
const SHOWN: usize = 12;

pub(super) struct Sheet<'a> {
    pub found: &'a Found,
    pub options: &'a Options,
    pub config: &'a Config,
}

impl Sheet<'_> {
    /// The sheet as text, at most 80 columns where names allow.
    pub fn text(&self, world: &WorldId) -> String {
        let target = &self.found.target;
        let now = self.found.runs.as_ref().map_or("no one release".to_owned(), ToString::to_string);
        let mut lines = vec![
            String::new(),
            format!("Roll {} back to {}", self.config.project, target.version),
            format!("  in         {}", world.cluster),
            format!("             namespace {}", world.namespace),
            format!("  runs now   {now}"),
        ];
        lines.extend(self.coming());
        lines.extend(self.quarantined());
        lines.push(format!("  known by   {}", target.known_by()));
        lines.extend(self.images());
        lines.extend(self.skew());
        lines.push("  schema     stays as it is: down migrations are never run".to_owned());
        lines.push(format!("  how        {}", self.how()));
        if self.options.pause_sync {
            lines.extend(self.found.paused_with.as_ref().map(|with| format!("  pauses     {with}")));
        }
        lines.extend(self.argo());
        lines.extend(self.open());
        let reason = self.options.reason.as_deref().unwrap_or("not given (--reason TEXT)");
        lines.push(format!("  reason     {}", printable(reason)));
        lines.push(String::new());
        sheet(&lines)
    }

    /// What main names already and no pod runs yet: it is kept from coming.
    fn coming(&self) -> Option<String> {
        let bad = self.found.bad.as_ref().filter(|_| !self.found.coming.is_empty())?;
        Some(format!("  on its way {bad}: {} names it, no pod runs it yet", self.config.repository.main))
    }

    /// The target was bad once: whoever goes there again means it.
    fn quarantined(&self) -> Option<String> {
        let entry = self.found.quarantined.as_ref()?;
        let (when, who) = (entry.at.strftime("%Y-%m-%d %H:%M UTC"), printable(&entry.who));
        let reason = if entry.reason.is_empty() { String::new() } else { format!(": {}", printable(&entry.reason)) };
        Some(format!("  CAUTION    {} is in quarantine since {when}, by {who}{reason}", self.found.target.version))
    }

    fn images(&self) -> Vec<String> {
        let differs = |(name, digest): &(&ServiceName, &Option<Digest>)| {
            let live = self.found.live.get(*name);
            !matches!((digest, live), (Some(digest), Some(live)) if live.len() == 1 && live.contains(digest))
        };
        let changed: Vec<_> = self.found.digests.iter().filter(differs).collect();
        let mut out = vec![format!(
            "  images     {}, {} with another digest",
            count(self.found.digests.len(), "service"),
            changed.len()
        )];
        for (name, digest) in changed.iter().take(SHOWN) {
            let live = self.found.live.get(*name);
            let now: Vec<&str> = live.into_iter().flatten().map(Digest::short).collect();
            let now = if now.is_empty() { "none".to_owned() } else { now.join(" and ") };
            let then = digest.as_ref().map_or("not in ECR", Digest::short);
            out.push(format!("             {name:<10} {now} → {then}"));
        }
        if changed.len() > SHOWN {
            out.push(format!("             and {} more", changed.len() - SHOWN));
        }
        out
    }

    /// What stays, and so runs beside the target.
    fn skew(&self) -> Option<String> {
        let untouched = &self.found.untouched;
        if untouched.is_empty() {
            return None;
        }
        let names: Vec<&str> = untouched.iter().map(ServiceName::as_str).collect();
        let stays = self.found.runs.as_ref().map_or("their images".to_owned(), ToString::to_string);
        Some(format!("  stays      {} at {stays}: they run beside {}", names.join(", "), self.found.target.version))
    }

    fn how(&self) -> String {
        if self.options.direct {
            let sync = if self.options.pause_sync { "; automated sync is paused meanwhile" } else { "" };
            return format!("images are applied directly, past Git; the commit follows when it can{sync}: a debt");
        }
        format!(
            "one commit to {} on {}, which Argo CD syncs",
            self.config.production.kustomization(),
            self.config.repository.main
        )
    }

    fn argo(&self) -> Option<String> {
        match &self.found.app {
            Err(error) => Some(format!("  Argo CD    {}", not_asked(error))),
            Ok(app) => {
                let operation = app.operation.as_ref().filter(|operation| operation.running())?;
                let whose = if operation.initiated_by.is_empty() { "somebody" } else { &operation.initiated_by };
                let what = if self.options.terminate_sync {
                    "it is ended first"
                } else {
                    "it must end first (--terminate-sync ends it)"
                };
                Some(format!("  Argo CD    an operation of {} is under way: {what}", printable(whose)))
            }
        }
    }

    fn open(&self) -> Vec<String> {
        let Some(open) = &self.found.open else { return Vec::new() };
        let version = open.version().map_or(String::new(), |version| format!(" {version}"));
        let header = &open.header;
        let by = printable(&header.by);
        let mut lines = vec![
            format!("  gives up   run {} ({}{version}, by {by}):", header.run, header.command),
            "             it is closed as it stands".to_owned(),
        ];
        if self.options.ends.is_some() {
            lines.push(format!("             and its run of {} is ended", self.config.workflow.file));
        }
        lines
    }
}

fn not_asked(error: &Error) -> String {
    format!("cannot be asked: {}", printable(&error.to_string()))
}
