//! A CronJob's schedule: five fields of numbers, `*`, ranges, steps and lists, in UTC.

use jiff::{SignedDuration, Timestamp, tz::TimeZone};

/// A parsed schedule: which minutes, hours, days of the month, months and days of the week.
pub struct Schedule([Vec<i8>; 5]);

impl Schedule {
    /// `None` for what is not five such fields.
    pub fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = match text {
            "@hourly" => vec!["0", "*", "*", "*", "*"],
            "@daily" | "@midnight" => vec!["0", "0", "*", "*", "*"],
            "@weekly" => vec!["0", "0", "*", "*", "0"],
            other => other.split_whitespace().collect(),
        };
        let bounds = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)];
        let parsed: Vec<Vec<i8>> =
            fields.iter().zip(bounds).map(|(field, bounds)| values(field, bounds)).collect::<Option<_>>()?;
        (fields.len() == 5).then(|| parsed.try_into().ok().map(Self)).flatten()
    }

    /// The first time after `at`, within a year.
    pub fn after(&self, at: Timestamp) -> Option<Timestamp> {
        let [minutes, hours, days, months, weekdays] = &self.0;
        let minute = Timestamp::from_second(at.as_second().div_euclid(60) * 60 + 60).ok()?;
        let mut next = minute;
        let limit = at.checked_add(SignedDuration::from_hours(24 * 366)).ok()?;
        while next < limit {
            let civil = next.to_zoned(TimeZone::UTC);
            let weekday = civil.weekday().to_sunday_zero_offset();
            // With both days restricted, cron takes either.
            let (by_day, by_weekday) = (days.contains(&civil.day()), weekdays.contains(&weekday));
            let day = if days.len() < 31 && weekdays.len() < 7 { by_day || by_weekday } else { by_day && by_weekday };
            if day && months.contains(&civil.month()) && hours.contains(&civil.hour()) {
                if minutes.contains(&civil.minute()) {
                    return Some(next);
                }
                next = next.checked_add(SignedDuration::from_mins(1)).ok()?;
            } else {
                // On to the next full hour.
                let hour = next.as_second().div_euclid(3600) * 3600 + 3600;
                next = Timestamp::from_second(hour).ok()?;
            }
        }
        None
    }
}

fn values(field: &str, (low, high): (i8, i8)) -> Option<Vec<i8>> {
    let mut all = Vec::new();
    for part in field.split(',') {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let (from, to) = match range.split_once('-') {
            Some((from, to)) => (from.parse().ok()?, to.parse().ok()?),
            None if range == "*" => (low, high),
            None => {
                let from: i8 = range.parse().ok()?;
                (from, if step.is_some() { high } else { from })
            }
        };
        let step: usize = step.map_or(Some(1), |step| step.parse().ok())?;
        if from < low || to > high || from > to || step == 0 {
            return None;
        }
        // Sunday is 0 and 7.
        all.extend((from..=to).step_by(step).map(|value| if high == 7 && value == 7 { 0 } else { value }));
    }
    all.sort_unstable();
    all.dedup();
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_find_their_next_time() {
        let next = |schedule: &str| {
            let at: Timestamp = "2025-03-04T09:00:00Z".parse().unwrap();
            Schedule::parse(schedule).unwrap().after(at).unwrap().to_string()
        };
        assert_eq!(next("0 */6 * * *"), "2025-03-04T12:00:00Z");
        assert_eq!(next("*/15 * * * *"), "2025-03-04T09:15:00Z");
        assert_eq!(next("30 2 * * 0"), "2025-03-09T02:30:00Z");
        assert!(Schedule::parse("whenever").is_none() && Schedule::parse("60 * * * *").is_none());
    }
}
