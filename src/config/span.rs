//! Durations in YAML: `24h`, `90s`, `1h30m`, `250ms`, `7d`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer};

/// The form, for JSON Schema.
pub const PATTERN: &str = r"^(?=\d)(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?$";

/// A duration's JSON Schema.
pub(super) fn schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "string", "pattern": PATTERN})
}

/// Writes the shortest exact form: `24h`.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*duration))
}

/// Reads [`parse`]'s form.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).map_err(serde::de::Error::custom)
}

/// `1h30m` → 5400 s. Each unit once at most, largest first; a bare number is refused: a unit must be named.
pub fn parse(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    let wrong = || format!("{text:?} is not a duration (for example 24h, 90s, 1h30m)");
    let (mut rest, mut from, mut total) = (text, 0, 0_u64);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let amount: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = &rest[..letters];
        rest = &rest[letters..];
        let index = UNITS[from..].iter().position(|(name, _)| *name == unit).ok_or_else(wrong)? + from;
        from = index + 1;
        total = amount.checked_mul(UNITS[index].1).and_then(|ms| total.checked_add(ms)).ok_or_else(wrong)?;
    }
    if from == 0 { Err(wrong()) } else { Ok(Duration::from_millis(total)) }
}

/// The inverse of [`parse`].
#[must_use]
pub fn format(duration: Duration) -> String {
    let mut millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut out = String::new();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
        // People say 24h, not 1d, and 36h, not 1d12h.
        if unit == "d" && (millis % size != 0 || millis < 2 * size) {
            continue;
        }
        if millis >= size {
            out.push_str(&format!("{}{unit}", millis / size));
            millis %= size;
        }
    }
    if out.is_empty() { "0s".into() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_round_trip() {
        for text in ["24h", "90s", "1h30m", "250ms", "7d", "36h", "0s"] {
            let duration = parse(text).unwrap();
            assert_eq!(parse(&format(duration)).unwrap(), duration, "{text}");
        }
        assert_eq!(format(Duration::from_hours(24)), "24h");
        for bad in ["", "24", "h", "1m1h", "1h1h", "-1h", "1.5h", "1 h", "99999999999999999999h"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
