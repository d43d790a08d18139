//! What a release brings: commits, what they ask of the version, and the notes they make.

use git_conventional::{Commit, Type};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Bump, CommitSha};

/// A commit, as a release needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitInfo {
    pub sha: CommitSha,
    /// `Name <address>`.
    pub author: String,
    /// When it was committed.
    pub when: Timestamp,
    /// First line of the message. From outside: make it printable before showing it.
    pub subject: String,
    /// The rest of the message, trailers included.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub body: String,
    /// `Key: value` lines of the message's last paragraph.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trailers: Vec<(String, String)>,
}

impl CommitInfo {
    /// The value of a trailer, its key compared without case.
    #[must_use]
    pub fn trailer(&self, key: &str) -> Option<&str> {
        self.trailers.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value.as_str())
    }
}

/// One line of the release notes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub sha: CommitSha,
    /// `feat`, `fix`, …; `None` for a commit that is not conventional.
    pub kind: Option<String>,
    pub scope: Option<String>,
    /// What was done, without type, scope and pull request number.
    pub subject: String,
    /// Pull request, from `(#123)` at the subject's end or from `Merge pull request #123`.
    pub pull_request: Option<u64>,
    /// What breaks, where it does.
    pub breaking: Option<String>,
}

/// The commits of a release, by what they are; newest first within each group, as they were given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    pub breaking: Vec<Change>,
    pub features: Vec<Change>,
    pub fixes: Vec<Change>,
    pub others: Vec<Change>,
}

impl Changes {
    /// Groups commits. Merge commits are left out: what they merged is there itself.
    #[must_use]
    pub fn of(commits: &[CommitInfo]) -> Self {
        let mut changes = Self::default();
        for commit in commits.iter().filter(|commit| !is_merge(&commit.subject)) {
            let change = Change::of(commit);
            let group = match change.kind.as_deref() {
                _ if change.breaking.is_some() => &mut changes.breaking,
                Some("feat") => &mut changes.features,
                Some("fix") => &mut changes.fixes,
                _ => &mut changes.others,
            };
            group.push(change);
        }
        changes
    }

    /// Which part of the version they ask to raise.
    #[must_use]
    pub fn bump(&self) -> Bump {
        match (self.breaking.is_empty(), self.features.is_empty()) {
            (false, _) => Bump::Major,
            (true, false) => Bump::Minor,
            (true, true) => Bump::Patch,
        }
    }

    /// Whether any of them is conventional; if not, [`Changes::bump`] is a guess, and people should be told so.
    #[must_use]
    pub fn any_conventional(&self) -> bool {
        self.all().any(|change| change.kind.is_some())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all().count()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, group by group.
    pub fn all(&self) -> impl Iterator<Item = &Change> {
        self.breaking.iter().chain(&self.features).chain(&self.fixes).chain(&self.others)
    }

    /// Release notes in Markdown. `repository` is the repository's web address (`https://github.com/owner/name`), for links.
    #[must_use]
    pub fn notes(&self, repository: Option<&str>) -> String {
        let groups = [
            ("Breaking changes", &self.breaking),
            ("Features", &self.features),
            ("Fixes", &self.fixes),
            ("Other changes", &self.others),
        ];
        let mut out = String::new();
        for (title, changes) in groups.into_iter().filter(|(_, changes)| !changes.is_empty()) {
            if !out.is_empty() {
                out.push('\n');
            }
            out.push_str(&format!("## {title}\n\n"));
            for change in changes {
                out.push_str(&change.line(repository));
            }
        }
        if out.is_empty() { "No changes.\n".into() } else { out }
    }
}

impl Change {
    fn of(commit: &CommitInfo) -> Self {
        let whole = format!("{}\n\n{}", commit.subject, commit.body);
        // A body that the grammar refuses does not make the subject less conventional.
        let parsed = Commit::parse(whole.trim_end()).or_else(|_| Commit::parse(&commit.subject)).ok();
        let subject = parsed.as_ref().map_or(commit.subject.as_str(), Commit::description);
        let (subject, pull_request) = split_pull_request(subject);
        Self {
            sha: commit.sha.clone(),
            kind: parsed.as_ref().map(|parsed| kind(parsed.type_())),
            scope: parsed.as_ref().and_then(Commit::scope).map(|scope| scope.as_str().to_owned()),
            subject: subject.to_owned(),
            pull_request,
            breaking: parsed.as_ref().and_then(Commit::breaking_description).map(str::to_owned),
        }
    }

    /// `- **gateway**: subject (#12, a1b2c3d)`, and what breaks below it.
    fn line(&self, repository: Option<&str>) -> String {
        let scope = self.scope.as_ref().map(|scope| format!("**{}**: ", markdown(scope))).unwrap_or_default();
        let pull = self.pull_request.map(|number| format!("#{number}, ")).unwrap_or_default();
        let short = self.sha.short();
        let commit = repository.map_or(short.to_owned(), |url| format!("[{short}]({url}/commit/{})", self.sha));
        let mut line = format!("- {scope}{} ({pull}{commit})\n", markdown(&self.subject));
        if let Some(breaking) = self.breaking.as_ref().filter(|text| !self.subject.starts_with(text.as_str())) {
            let flat = breaking.split_whitespace().collect::<Vec<_>>().join(" ");
            if !flat.starts_with(&self.subject) {
                line.push_str(&format!("  {}\n", markdown(&flat)));
            }
        }
        line
    }
}

/// The type in lower case; the two common misspellings count as what they mean.
fn kind(kind: Type<'_>) -> String {
    match kind.as_str().to_ascii_lowercase().as_str() {
        "feature" => "feat".to_owned(),
        "bugfix" | "hotfix" => "fix".to_owned(),
        other => other.to_owned(),
    }
}

fn is_merge(subject: &str) -> bool {
    ["Merge branch ", "Merge pull request ", "Merge remote-tracking branch ", "Merge tag "]
        .iter()
        .any(|start| subject.starts_with(start))
}

/// `add pages (#12)` → (`add pages`, 12).
fn split_pull_request(subject: &str) -> (&str, Option<u64>) {
    let subject = subject.trim_end();
    let found = subject
        .strip_suffix(')')
        .and_then(|rest| rest.rsplit_once("(#"))
        .and_then(|(before, number)| Some((before.trim_end(), number.parse().ok()?)));
    found.map_or((subject, None), |(before, number)| (before, Some(number)))
}

/// Text from outside, in Markdown, as itself: no links, no HTML, no mentions that notify people.
fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in super::printable(text).chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|' => out.extend(['\\', c]),
            // A zero-width space stops GitHub from notifying whoever has that name.
            '@' => out.push_str("@\u{200b}"),
            c => out.push(c),
        }
    }
    out
}

/// Splits a commit message into subject, body and trailers, as `git interpret-trailers` finds them: the last
/// paragraph, if every line of it is `Key: value` or the continuation of one.
#[must_use]
pub fn split_message(message: &str) -> (String, String, Vec<(String, String)>) {
    let message = message.trim_start_matches('\n').trim_end();
    let (subject, body) = message.split_once('\n').unwrap_or((message, ""));
    let body = body.trim_matches('\n');
    let last = body.rsplit("\n\n").next().unwrap_or_default();
    (subject.trim_end().to_owned(), body.to_owned(), trailers(last).unwrap_or_default())
}

fn trailers(paragraph: &str) -> Option<Vec<(String, String)>> {
    let mut found: Vec<(String, String)> = Vec::new();
    for line in paragraph.lines().filter(|line| !line.trim().is_empty()) {
        if line.starts_with([' ', '\t']) {
            let (_, value) = found.last_mut()?;
            value.push(' ');
            value.push_str(line.trim());
            continue;
        }
        let (key, value) = line.split_once(':')?;
        let is_key = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if !is_key {
            return None;
        }
        found.push((key.to_owned(), value.trim().to_owned()));
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::Version;

    fn commit(message: &str) -> CommitInfo {
        let (subject, body, trailers) = split_message(message);
        CommitInfo {
            sha: "a".repeat(40).parse().unwrap(),
            author: "Dana <dana@example.com>".into(),
            when: Timestamp::UNIX_EPOCH,
            subject,
            body,
            trailers,
        }
    }

    fn bump(messages: &[&str]) -> Bump {
        Changes::of(&messages.iter().map(|message| commit(message)).collect::<Vec<_>>()).bump()
    }

    #[test]
    fn commits_ask_for_a_bump() {
        assert_eq!(bump(&["fix: a", "docs: b"]), Bump::Patch);
        assert_eq!(bump(&["fix: a", "feat(search): b (#12)"]), Bump::Minor);
        assert_eq!(bump(&["feat!: a"]), Bump::Major);
        assert_eq!(bump(&["fix: a\n\nBREAKING CHANGE: tokens of v1 are refused"]), Bump::Major);
        assert_eq!(bump(&["Feature: b"]), Bump::Minor);
        assert_eq!(bump(&[]), Bump::Patch);
        let before_one = Version::new(0, 3, 1);
        assert_eq!(before_one.next(bump(&["feat!: a"])), Version::new(0, 4, 0));
    }

    #[test]
    fn commits_that_are_not_conventional_are_a_patch_and_said_to_be_so() {
        let changes = Changes::of(&[commit("Improve things"), commit("Merge pull request #3 from x/y")]);
        assert_eq!((changes.bump(), changes.any_conventional(), changes.len()), (Bump::Patch, false, 1));
    }

    #[test]
    fn notes_name_scope_pull_request_and_commit() {
        let changes = Changes::of(&[
            commit("feat(search): rank by recency (#41)"),
            commit("fix(auth)!: refuse v1 tokens\n\nBREAKING CHANGE: sign in again"),
            commit("tidy *up* for @dana <b>"),
        ]);
        let notes = changes.notes(Some("https://github.com/gospelib/gospelib"));
        let sha = "a".repeat(40);
        let link = format!("[aaaaaaa](https://github.com/gospelib/gospelib/commit/{sha})");
        assert_eq!(
            notes,
            format!(
                "## Breaking changes\n\n- **auth**: refuse v1 tokens ({link})\n  sign in again\n\n## Features\n\n\
                 - **search**: rank by recency (#41, {link})\n\n## Other changes\n\n\
                 - tidy \\*up\\* for @\u{200b}dana \\<b\\> ({link})\n"
            )
        );
    }

    #[test]
    fn trailers_are_the_last_paragraph_only() {
        let found =
            commit("chore: x\n\nNote: not one, for\nthis line is text\n\nGospel-Run: r-1\nSigned-off-by: D\n <d@x>\n");
        assert_eq!(found.trailer("gospel-run"), Some("r-1"));
        assert_eq!(found.trailer("signed-off-by"), Some("D <d@x>"));
        assert_eq!(found.trailer("note"), None);
        assert!(commit("chore: x").trailers.is_empty());
    }

    proptest! {
        #[test]
        fn any_message_makes_one_line_at_most_per_commit(message in "\\PC{0,60}(\n\\PC{0,40}){0,4}") {
            let changes = Changes::of(&[commit(&message)]);
            prop_assert!(changes.len() <= 1);
            prop_assert!(changes.notes(None).lines().filter(|line| line.starts_with("- ")).count() <= 1);
        }
    }
}
