//! What becomes of an image in ECR: deleted already, some day, or with the next push.

use jiff::Timestamp;

use crate::adapters::aws::{CountType, ImageInfo, LifecyclePolicy, LifecycleRule};
use crate::error::Result;

use super::words::{after, clock_time};

/// Whether an image will be there when it is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ImageFate {
    /// And what the lifecycle policy says about it.
    Kept(String),
    /// It is there, and ECR may delete it any time.
    Doomed(String),
    /// Gone.
    Lost(String),
    /// Whether it stays, or is there, cannot be told.
    NotKnown(String),
}

/// Whether a rule goes by how many images are newer: they must be counted then.
pub(super) fn counts(info: &ImageInfo, policy: &LifecyclePolicy) -> bool {
    policy.rule_for(&info.tags).is_some_and(|rule| matches!(rule.count, CountType::MoreThan(kept) if kept > 1))
}

/// What becomes of an image: ECR deletes what a rule matches, also what a cluster still runs. `all`: the images of its repository,
/// where they were asked for.
pub(super) fn fate(
    info: Option<&ImageInfo>,
    policy: &LifecyclePolicy,
    all: Option<&Result<Vec<ImageInfo>>>,
    now: Timestamp,
) -> ImageFate {
    let Some(info) = info else { return ImageFate::Lost("it is no longer in ECR".into()) };
    let Some(rule) = policy.rule_for(&info.tags) else {
        return ImageFate::Kept("in ECR; no lifecycle rule deletes it".into());
    };
    let number = rule.priority;
    match (&rule.count, info.pushed_at) {
        (CountType::Older(age), Some(pushed)) => {
            let until = after(pushed, *age);
            if until <= now {
                let since = clock_time(until);
                ImageFate::Doomed(format!("lifecycle rule {number} has let ECR delete it since {since}"))
            } else {
                ImageFate::Kept(format!("in ECR until {} (lifecycle rule {number})", clock_time(until)))
            }
        }
        (CountType::MoreThan(kept), _) if *kept <= 1 => next_push(number),
        (CountType::MoreThan(kept), Some(pushed)) => {
            let newest = format!("lifecycle rule {number} keeps the newest {kept}");
            match all {
                Some(Ok(all)) => by_count(number, &newest, kept.saturating_sub(newer(rule, all, pushed))),
                Some(Err(error)) => {
                    ImageFate::Kept(format!("in ECR; {newest}, and how many are newer is not known: {error}"))
                }
                None => ImageFate::Kept(format!("in ECR; {newest}, and how many are newer was not asked")),
            }
        }
        (CountType::Older(_) | CountType::MoreThan(_), None) => ImageFate::NotKnown(format!(
            "it is in ECR now, but lifecycle rule {number} goes by an age that ECR does not tell"
        )),
        (CountType::Other(rule), _) => ImageFate::NotKnown(format!(
            "it is in ECR now, but lifecycle rule {number} is of a form not known here ({rule})"
        )),
    }
}

/// The images that a rule is about and that were pushed later (ECR User Guide, "Lifecycle policy evaluation rules": they are sorted by
/// the time of their push).
fn newer(rule: &LifecycleRule, all: &[ImageInfo], pushed: Timestamp) -> u64 {
    let newer = |image: &&ImageInfo| rule.tag_status.matches(&image.tags) && image.pushed_at > Some(pushed);
    all.iter().filter(newer).count() as u64
}

/// `left`: as many more pushes delete it.
fn by_count(number: i64, newest: &str, left: u64) -> ImageFate {
    match left {
        0 => ImageFate::Doomed(format!("{newest}, and it is not one of them")),
        1 => next_push(number),
        left => {
            let more = format!("{left} more images");
            ImageFate::Kept(format!("in ECR until {more} are pushed ({newest})"))
        }
    }
}

fn next_push(number: i64) -> ImageFate {
    ImageFate::Doomed(format!("lifecycle rule {number} deletes it as soon as a newer image is pushed"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::adapters::aws::TagStatus;
    use crate::error::Error;

    fn now() -> Timestamp {
        "2025-03-04T09:00:00Z".parse().unwrap()
    }

    fn pushed(days: i64, tag: &str) -> ImageInfo {
        ImageInfo {
            digest: format!("sha256:{}", "a".repeat(64)).parse().unwrap(),
            tags: vec![tag.into()],
            pushed_at: Some(now() - jiff::SignedDuration::from_hours(24 * days)),
            media_type: None,
            size_bytes: None,
        }
    }

    fn policy(count: CountType) -> LifecyclePolicy {
        let tag_status = TagStatus::Tagged { prefixes: vec!["v".into()], patterns: Vec::new() };
        LifecyclePolicy { rules: vec![LifecycleRule { priority: 5, description: String::new(), tag_status, count }] }
    }

    fn days(days: u64) -> CountType {
        CountType::Older(Duration::from_secs(days * 86_400))
    }

    #[test]
    fn by_age_it_is_there_until_a_day_that_is_told() {
        let of = |info: Option<&ImageInfo>, count| fate(info, &policy(count), None, now());
        assert!(matches!(of(None, days(30)), ImageFate::Lost(_)));
        let kept = of(Some(&pushed(12, "v1.1.1")), days(30));
        assert_eq!(kept, ImageFate::Kept("in ECR until 2025-03-22 09:00 UTC (lifecycle rule 5)".into()));
        assert!(matches!(of(Some(&pushed(12, "v1.1.1")), days(10)), ImageFate::Doomed(_)));
        let spared = of(Some(&pushed(12, "sha-abc")), days(10));
        assert_eq!(spared, ImageFate::Kept("in ECR; no lifecycle rule deletes it".into()));
        let unknown = of(Some(&pushed(1, "v1.1.1")), CountType::Other("sinceImagePulled 30".into()));
        assert!(matches!(unknown, ImageFate::NotKnown(why) if why.contains("sinceImagePulled 30")));
        let untold = ImageInfo { pushed_at: None, ..pushed(1, "v1.1.1") };
        assert!(matches!(of(Some(&untold), days(10)), ImageFate::NotKnown(_)));
        assert!(matches!(of(Some(&untold), CountType::MoreThan(9)), ImageFate::NotKnown(_)));
    }

    #[test]
    fn by_number_it_is_there_until_so_many_more_are_pushed() {
        let ours = pushed(12, "v1.1.1");
        // One is of another rule, one is older.
        let all = [("v1.2.0", 1), ("v1.1.2", 3), ("sha-abc", 2), ("v1.1.1", 12), ("v1.1.0", 30)];
        let all = Ok(all.map(|(tag, days)| pushed(days, tag)).to_vec());
        let of = |kept| fate(Some(&ours), &policy(CountType::MoreThan(kept)), Some(&all), now());
        let kept = "in ECR until 7 more images are pushed (lifecycle rule 5 keeps the newest 9)";
        assert_eq!(of(9), ImageFate::Kept(kept.into()));
        for (kept, why) in [(3, "as soon as a newer image is pushed"), (2, "it is not one of them"), (1, "as soon as")]
        {
            assert!(matches!(of(kept), ImageFate::Doomed(said) if said.contains(why)), "{kept}");
        }
        let failed = Err(Error::outside("no answer"));
        let of = |all| fate(Some(&ours), &policy(CountType::MoreThan(9)), all, now());
        assert!(matches!(of(Some(&failed)), ImageFate::Kept(said) if said.contains("not known: no answer")));
        assert!(matches!(of(None), ImageFate::Kept(said) if said.contains("was not asked")));
        assert!(counts(&ours, &policy(CountType::MoreThan(9))) && !counts(&ours, &policy(CountType::MoreThan(1))));
        assert!(!counts(&ours, &policy(days(9))) && !counts(&pushed(1, "sha-abc"), &policy(CountType::MoreThan(9))));
    }
}
