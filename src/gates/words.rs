//! Words that gates share.

use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

use crate::domain::{CommitSha, Evidence};
use crate::engine::{Candidate, Checked, Facts};

/// `2025-03-05 06:40 UTC`.
pub(super) fn clock_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// From `earlier` to `later`; 0 when it is the other way round.
pub(super) fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or(Duration::ZERO)
}

/// `at` plus `duration`, at most the end of time.
pub(super) fn after(at: Timestamp, duration: Duration) -> Timestamp {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    at.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// "a, b, c and 2 more": the first three by name.
pub(super) fn some(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] if names.len() <= 3 => format!("{} and {last}", first.join(", ")),
        _ => format!("{} and {} more", names[..3].join(", "), names.len() - 3),
    }
}

/// What is checked, or the answer when nothing is known to check.
pub(super) fn candidate(facts: &Facts) -> Result<&Candidate, Box<Checked>> {
    facts.candidate.as_ref().filter(|candidate| !candidate.images.is_empty()).ok_or_else(|| {
        let evidence = Evidence::new("no candidate is known, so there is nothing to check");
        Box::new(Checked::unknown(evidence).fix("find out why staging's images could not be read"))
    })
}

/// The page of a commit's checks, beside a page of the same repository where one is known (GitHub may be an enterprise's own).
pub(super) fn checks_page(slug: &str, commit: &CommitSha, beside: Option<&str>) -> String {
    let repository = format!("/{slug}/");
    let base =
        beside.and_then(|url| url.split_once(repository.as_str())).map_or("https://github.com", |(base, _)| base);
    format!("{base}/{slug}/commit/{commit}/checks")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_short() {
        let names = |n: usize| (1..=n).map(|i| i.to_string()).collect::<Vec<_>>();
        assert_eq!(some(&names(1)), "1");
        assert_eq!(some(&names(2)), "1 and 2");
        assert_eq!(some(&names(3)), "1, 2 and 3");
        assert_eq!(some(&names(5)), "1, 2, 3 and 2 more");
    }

    #[test]
    fn the_page_of_checks_is_where_the_repository_is() {
        let commit: CommitSha = "a1b2c3d4e5f60718293a4b5c6d7e8f9001122334".parse().unwrap();
        let page = |beside| checks_page("a/b", &commit, beside);
        assert_eq!(
            page(Some("https://git.example/a/b/actions/runs/1")),
            format!("https://git.example/a/b/commit/{commit}/checks")
        );
        assert!(page(Some("https://ci.example/7")).starts_with("https://github.com/a/b/commit/"));
    }

    #[test]
    fn times_are_utc_and_say_so() {
        assert_eq!(clock_time("2025-03-05T06:40:12Z".parse().unwrap()), "2025-03-05 06:40 UTC");
    }
}
