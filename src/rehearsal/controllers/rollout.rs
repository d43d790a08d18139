//! The arithmetic of a rollout, apart from any object.

use serde_json::Value;

/// How many pods a ReplicaSet wants, has, and has available.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub wanted: i64,
    pub existing: i64,
    pub available: i64,
}

/// How far a rollout may go above and below the wanted number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub surge: i64,
    pub unavailable: i64,
    /// All old pods end before the first new one starts.
    pub recreate: bool,
}

/// What each ReplicaSet shall want next; `old` in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub current: i64,
    pub old: Vec<i64>,
}

impl Limits {
    /// Reads `spec.strategy`. Defaults are 25 %; surge is rounded up, unavailability down, and both at 0 would stand
    /// still, so one may then be unavailable (kubernetes, deployment_util.go, ResolveFenceposts).
    pub fn of(strategy: &Value, desired: i64) -> Self {
        if strategy["type"] == "Recreate" {
            return Self { surge: 0, unavailable: desired, recreate: true };
        }
        let part = |key: &str, up: bool| {
            let value = &strategy["rollingUpdate"][key];
            if let Some(count) = value.as_i64() {
                return count;
            }
            let percent: i64 = value.as_str().and_then(|text| text.strip_suffix('%')?.parse().ok()).unwrap_or(25);
            let hundredths = percent * desired;
            if up { hundredths.div_euclid(100) + i64::from(hundredths.rem_euclid(100) > 0) } else { hundredths / 100 }
        };
        let (surge, unavailable) = (part("maxSurge", true), part("maxUnavailable", false));
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable.min(desired) };
        Self { surge, unavailable, recreate: false }
    }
}

/// The next step of a rollout (kubernetes, pkg/controller/deployment/rolling.go): grow the new one as far as the surge
/// allows, else shrink the old ones, those that serve nobody first.
pub fn next(desired: i64, limits: &Limits, current: Counts, old: &[Counts]) -> Target {
    let keep: Vec<i64> = old.iter().map(|set| set.wanted).collect();
    if limits.recreate {
        let gone = old.iter().all(|set| set.wanted == 0 && set.existing == 0);
        return Target { current: if gone { desired } else { current.wanted }, old: vec![0; old.len()] };
    }
    let total = current.wanted + keep.iter().sum::<i64>();
    if current.wanted > desired {
        return Target { current: desired, old: keep };
    }
    let room = (desired + limits.surge - total).clamp(0, desired - current.wanted);
    if room > 0 {
        return Target { current: current.wanted + room, old: keep };
    }
    Target { current: current.wanted, old: shrink(desired, limits, current, old) }
}

fn shrink(desired: i64, limits: &Limits, current: Counts, old: &[Counts]) -> Vec<i64> {
    let least = desired - limits.unavailable;
    let total = current.wanted + old.iter().map(|set| set.wanted).sum::<i64>();
    let mut spare = total - least - (current.wanted - current.available);
    let mut wanted: Vec<i64> = old.iter().map(|set| set.wanted).collect();
    if spare <= 0 {
        return wanted;
    }
    let mut available_old: Vec<i64> = old.iter().map(|set| set.available.min(set.wanted)).collect();
    for (left, available) in wanted.iter_mut().zip(&available_old) {
        let cut = spare.min(*left - available).max(0);
        *left -= cut;
        spare -= cut;
    }
    let mut cuttable = current.available + available_old.iter().sum::<i64>() - least;
    for (left, available) in wanted.iter_mut().zip(&mut available_old) {
        let cut = cuttable.min(*available).min(*left).max(0);
        *left -= cut;
        *available -= cut;
        cuttable -= cut;
    }
    wanted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn counts(wanted: i64, available: i64) -> Counts {
        Counts { wanted, existing: wanted, available }
    }

    #[test]
    fn limits_round_as_kubernetes_does() {
        let of = |strategy: Value, desired| {
            let limits = Limits::of(&strategy, desired);
            (limits.surge, limits.unavailable)
        };
        assert_eq!(of(Value::Null, 2), (1, 0));
        assert_eq!(of(Value::Null, 10), (3, 2));
        assert_eq!(of(json!({ "rollingUpdate": { "maxSurge": 0, "maxUnavailable": 0 } }), 2), (0, 1));
        assert_eq!(of(json!({ "rollingUpdate": { "maxSurge": "50%", "maxUnavailable": "50%" } }), 3), (2, 1));
        assert!(Limits::of(&json!({ "type": "Recreate" }), 2).recreate);
    }

    #[test]
    fn a_rollout_never_goes_below_or_above_its_limits() {
        for (desired, strategy) in [
            (2, Value::Null),
            (5, json!({ "rollingUpdate": { "maxSurge": 0, "maxUnavailable": 2 } })),
            (7, json!({ "rollingUpdate": { "maxSurge": "100%", "maxUnavailable": 0 } })),
        ] {
            let limits = Limits::of(&strategy, desired);
            let (mut new, mut old) = (counts(0, 0), [counts(desired, desired)]);
            for _ in 0..50 {
                let target = next(desired, &limits, new, &old);
                let wanted = target.current + target.old[0];
                assert!(wanted <= desired + limits.surge, "{wanted} of {desired}");
                old[0] = counts(target.old[0], target.old[0]);
                // New pods become available one at a time.
                new = Counts { wanted: target.current, existing: target.current, available: new.available };
                assert!(new.available + old[0].available >= desired - limits.unavailable);
                new.available = new.wanted.min(new.available + 1);
            }
            assert_eq!((new, old[0].wanted), (counts(desired, desired), 0));
        }
    }

    #[test]
    fn a_broken_rollout_keeps_the_old_pods() {
        let limits = Limits::of(&Value::Null, 2);
        let target = next(2, &limits, counts(1, 0), &[counts(2, 2)]);
        assert_eq!(target, Target { current: 1, old: vec![2] });
        // The template returns: the broken one is the old one now, and goes first.
        let target = next(2, &limits, counts(2, 2), &[counts(1, 0)]);
        assert_eq!(target, Target { current: 2, old: vec![0] });
    }
}
