//! Which of an Application's sources is the overlay that releases commit to. With several, every revision is a list in the order of
//! `spec.sources` (Argo CD's documentation, "Multiple Sources for an Application").

use serde::Deserialize;
use serde_json::{Value, json};

/// An overlay in Git.
#[derive(Debug, Clone)]
pub(super) struct Overlay {
    /// `owner/name`.
    pub slug: String,
    pub path: String,
}

#[derive(Debug, Clone, Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Source {
    #[serde(rename = "repoURL")]
    pub repo_url: String,
    pub path: String,
    pub target_revision: String,
}

/// One revision, or one for each of several sources.
#[derive(Debug, Clone, Deserialize, Default)]
#[serde(default)]
pub(super) struct Revisions {
    #[serde(rename = "revision")]
    one: Option<String>,
    #[serde(rename = "revisions")]
    each: Vec<String>,
    /// What they are of, where it is told: `spec.sources` may have changed since.
    sources: Vec<Source>,
}

impl Revisions {
    /// The same, told of which sources.
    pub fn of(self, sources: Vec<Source>) -> Self {
        Self { sources: if self.sources.is_empty() { sources } else { self.sources }, ..self }
    }

    /// The overlay's. `spec`: the sources as they are now.
    pub fn ours(&self, spec: &[Source], overlay: Option<&Overlay>) -> Option<String> {
        let found = if self.each.is_empty() {
            self.one.as_ref()
        } else {
            let sources = if self.sources.is_empty() { spec } else { &self.sources };
            position(sources, overlay).ok().and_then(|ours| self.each.get(ours))
        };
        found.filter(|revision| !revision.is_empty()).cloned()
    }
}

/// Which of several sources is the overlay.
///
/// # Errors
/// Why it cannot be told.
pub(super) fn position(sources: &[Source], overlay: Option<&Overlay>) -> Result<usize, String> {
    let Some(overlay) = overlay else {
        return Err(format!("it has {} sources, and which of them is meant is not configured", sources.len()));
    };
    let trimmed = |path: &str| path.trim_start_matches("./").trim_matches('/').to_owned();
    let wanted = |source: &&(usize, &Source)| {
        trimmed(&source.1.path) == trimmed(&overlay.path) && is_of(&source.1.repo_url, &overlay.slug)
    };
    let numbered: Vec<(usize, &Source)> = sources.iter().enumerate().collect();
    let found: Vec<usize> = numbered.iter().filter(wanted).map(|(at, _)| *at).collect();
    let (count, Overlay { slug, path }) = (sources.len(), overlay);
    match found.as_slice() {
        [ours] => Ok(*ours),
        [] => Err(format!("none of its {count} sources is {path} of {slug}")),
        _ => Err(format!("{} of its {count} sources are {path} of {slug}", found.len())),
    }
}

/// Whether an address of a repository (HTTPS or SSH) is that of `owner/name`.
fn is_of(url: &str, slug: &str) -> bool {
    let url = url.trim_end_matches('/').to_ascii_lowercase();
    let url = url.strip_suffix(".git").unwrap_or(&url);
    url.strip_suffix(&slug.to_ascii_lowercase()).is_some_and(|before| before.ends_with(['/', ':']))
}

/// The revisions of a sync: ours, and for the others what their sources follow.
///
/// The list must be as long as the sources (Argo CD, controller/state.go, `GetRepoObjs`: an empty one is the source's own).
pub(super) fn request(sources: &[Source], ours: Option<usize>, revision: &str) -> Value {
    let Some(ours) = ours else { return json!({"revision": revision}) };
    let mut revisions: Vec<&str> = sources.iter().map(|source| source.target_revision.as_str()).collect();
    revisions[ours] = revision;
    json!({"revisions": revisions})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(repo_url: &str, path: &str) -> Source {
        Source { repo_url: repo_url.into(), path: path.into(), target_revision: "main".into() }
    }

    fn overlay() -> Overlay {
        Overlay { slug: "gospelib/gospelib".into(), path: "infra/overlays/production".into() }
    }

    #[test]
    fn the_source_is_found_by_repository_and_path() {
        let ours = source("git@github.com:Gospelib/gospelib.git", "./infra/overlays/production/");
        let (values, other) =
            (source("https://github.com/gospelib/gospelib", ""), "https://github.com/x/not-gospelib/gospelib");
        let mirror = source(other, "infra/overlays/production");
        let overlay = overlay();
        assert_eq!(position(&[values.clone(), mirror.clone(), ours.clone()], Some(&overlay)), Ok(2));
        let none = position(&[values, mirror], Some(&overlay)).unwrap_err();
        assert_eq!(none, "none of its 2 sources is infra/overlays/production of gospelib/gospelib");
        assert!(position(&[ours.clone(), ours.clone()], Some(&overlay)).is_err());
        assert!(position(&[ours], None).is_err());
    }

    #[test]
    fn a_revision_is_read_at_the_place_of_its_source() {
        let revisions = |value: Value| serde_json::from_value::<Revisions>(value).unwrap();
        let ours = source("https://github.com/gospelib/gospelib.git", "infra/overlays/production");
        let spec = [source("https://charts.example", ""), ours];
        let overlay = overlay();
        let read = |value| revisions(value).ours(&spec, Some(&overlay));
        assert_eq!(read(json!({"revision": "", "revisions": ["1.2.3", "abc"]})).as_deref(), Some("abc"));
        assert_eq!(read(json!({"revision": "abc"})).as_deref(), Some("abc"), "from before it had several");
        assert_eq!(read(json!({"revisions": ["1.2.3"]})), None);
        // Deployed when the sources were in another order.
        let then = json!([{"repoURL": "https://github.com/gospelib/gospelib.git", "path": "infra/overlays/production"}, {"repoURL": "x"}]);
        assert_eq!(read(json!({"revisions": ["abc", "1.2.3"], "sources": then})).as_deref(), Some("abc"));
        assert_eq!(revisions(json!({"revisions": ["a", "b"]})).ours(&spec, None), None);
    }

    #[test]
    fn only_our_source_is_pinned() {
        let chart = Source { target_revision: "1.2.3".into(), ..source("https://charts.example", "") };
        let sources = [chart, source("https://github.com/gospelib/gospelib", "p"), Source::default()];
        assert_eq!(request(&sources, Some(1), "abc"), json!({"revisions": ["1.2.3", "abc", ""]}));
        assert_eq!(request(&[], None, "abc"), json!({"revision": "abc"}));
    }
}
