//! AWS credentials that end by themselves: noticed before a long wait, not in it.

use std::time::Duration;

use jiff::Timestamp;

use crate::adapters::aws::Aws;
use crate::clock::Clock;
use crate::domain::duration;
use crate::engine::Plan;
use crate::error::Result;
use crate::ui::words::clock_time;

use super::Invocation;
use super::connect::Connected;

/// Credentials of an SSO session or an assumed role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// `production`, `staging`, `Argo CD`.
    pub of: &'static str,
    /// Wall time: AWS goes by no other.
    pub until: Timestamp,
    /// The command that renews them.
    pub renew: String,
}

impl Session {
    /// The session of `aws`; `None` where its credentials do not end.
    ///
    /// # Errors
    /// When there are no credentials, or they have ended.
    pub async fn of(aws: &Aws, of: &'static str) -> Result<Option<Self>> {
        let until = aws.credentials_expire_at().await?;
        Ok(until.map(|until| Self { of, until, renew: aws.renewal() }))
    }

    /// How much of it is left, in wall time.
    #[must_use]
    pub fn left(&self, clock: &Clock) -> Duration {
        Duration::try_from(self.until.duration_since(clock.wall())).unwrap_or_default()
    }

    /// `expire at 10:14 UTC, in 32 min`.
    #[must_use]
    pub fn said(&self, clock: &Clock) -> String {
        format!("expire at {}, in {}", clock_time(self.until, clock.wall()), duration(self.left(clock)))
    }
}

/// Warns of sessions that end while a step of `plan` may still wait. `done` tells the steps that wait no more.
pub fn warn(invocation: &mut Invocation, connected: &Connected, plan: &Plan, done: impl Fn(&str) -> bool) {
    let clock = invocation.clock.clone();
    let waits = plan.waits().into_iter().filter(|(step, _)| !done(step));
    let waits: Vec<_> = waits.map(|(step, wait)| (step, clock.to_wall(wait))).collect();
    for session in connected.sessions() {
        if let Some(step) = outlasting(&waits, session.left(&clock)) {
            invocation.warn(format!(
                "the AWS credentials of {} {}, and the step {step} may wait for longer; unless they renew themselves, first: {}",
                session.of,
                session.said(&clock),
                session.renew
            ));
        }
    }
}

/// The first step that may still wait when `left` is over; the waits come one after the other.
fn outlasting(waits: &[(&'static str, Duration)], left: Duration) -> Option<&'static str> {
    let mut until = Duration::ZERO;
    waits.iter().find_map(|(step, wait)| {
        until = until.saturating_add(*wait);
        (until > left).then_some(*step)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_in_whose_wait_they_end_is_named() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let waits = [("argo", minutes(15)), ("rollout", minutes(15)), ("watch", minutes(120))];
        assert_eq!(outlasting(&waits, minutes(10)), Some("argo"));
        assert_eq!(outlasting(&waits, minutes(20)), Some("rollout"));
        assert_eq!(outlasting(&waits, minutes(30)), Some("watch"));
        assert_eq!(outlasting(&waits, minutes(150)), None);
    }
}
