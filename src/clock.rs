//! Time, in one place.
//!
//! *World time* is what deadlines, soak and the watch are measured in. In production it is the wall clock; in a
//! rehearsal it starts in the past and runs faster, so that a day passes in seconds. *Wall time* is what request
//! time-outs, backoff and the Lease are measured in, always.
#![allow(clippy::disallowed_methods, reason = "this is the room that reads the clock")]

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// A handle on world time; clones are the same clock.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `None`: world time is wall time.
    scaled: Option<Scaled>,
    /// [`awake_or_asleep`] and the time of day when this clock was made.
    started: Duration,
    started_wall: Timestamp,
}

#[derive(Debug)]
struct Scaled {
    /// The machine's steady clock when world time was `anchor_world`; unset while the clock is held. All processes of a machine
    /// share that clock, and nobody sets it: with the wall clock as anchor, a correction of the time of day would be
    /// hours of world time between two processes.
    anchor: OnceLock<Duration>,
    anchor_world: Timestamp,
    speed: f64,
}

/// The machine's steady clock (`CLOCK_MONOTONIC`), since some point in the past.
fn steady() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::try_from(now).unwrap_or_default()
}

/// As [`steady`], and it goes on while the machine sleeps: Linux' `CLOCK_MONOTONIC` stops then (`clock_gettime(2)`), others' does not.
fn awake_or_asleep() -> Duration {
    #[cfg(target_os = "linux")]
    let id = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let id = rustix::time::ClockId::Monotonic;
    Duration::try_from(rustix::time::clock_gettime(id)).unwrap_or_default()
}

impl Clock {
    /// World time is wall time.
    #[must_use]
    pub fn real() -> Self {
        Self::build(None)
    }

    /// World time is `anchor_world` when the steady clock says `anchor`, and runs `speed` times as fast.
    fn scaled(anchor: Duration, anchor_world: Timestamp, speed: f64) -> Self {
        Self::build(Some(Scaled { anchor: anchor.into(), anchor_world, speed }))
    }

    /// A scaled clock that shows `anchor_world` until [`Clock::release`]: a world is built while nothing happens in it.
    #[must_use]
    pub fn held(anchor_world: Timestamp, speed: f64) -> Self {
        Self::build(Some(Scaled { anchor: OnceLock::new(), anchor_world, speed }))
    }

    /// Lets a held clock run; any other is left as it is.
    pub fn release(&self) {
        if let Some(scaled) = &self.0.scaled {
            scaled.anchor.get_or_init(steady);
        }
    }

    /// A scaled clock that shows `anchor_world` now.
    #[must_use]
    pub fn scaled_from_now(anchor_world: Timestamp, speed: f64) -> Self {
        Self::scaled(steady(), anchor_world, speed)
    }

    fn build(scaled: Option<Scaled>) -> Self {
        Self(Arc::new(Inner { scaled, started: awake_or_asleep(), started_wall: Timestamp::now() }))
    }

    /// World time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let Some(scaled) = &self.0.scaled else { return self.wall() };
        let Some(anchor) = scaled.anchor.get() else { return scaled.anchor_world };
        let passed = steady().saturating_sub(*anchor).as_secs_f64() * scaled.speed;
        let passed = jiff::SignedDuration::try_from_secs_f64(passed).unwrap_or(jiff::SignedDuration::ZERO);
        scaled.anchor_world.checked_add(passed).unwrap_or(Timestamp::MAX)
    }

    /// Wall time now; never goes back within one process, and goes on while a laptop sleeps.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        let passed = awake_or_asleep().saturating_sub(self.0.started);
        let passed = jiff::SignedDuration::try_from(passed).unwrap_or(jiff::SignedDuration::ZERO);
        self.0.started_wall.checked_add(passed).unwrap_or(Timestamp::MAX)
    }

    /// How many world seconds pass in a wall second: 1.0 in production.
    #[must_use]
    pub fn speed(&self) -> f64 {
        self.0.scaled.as_ref().map_or(1.0, |scaled| scaled.speed)
    }

    /// The wall duration in which `world` passes.
    #[must_use]
    pub fn to_wall(&self, world: Duration) -> Duration {
        world.div_f64(self.speed().max(f64::MIN_POSITIVE))
    }

    /// Sleeps for a *world* duration.
    pub async fn sleep(&self, world: Duration) {
        tokio::time::sleep(self.to_wall(world)).await;
    }

    /// Sleeps for a *wall* duration: backoff, poll intervals, renewals.
    pub async fn sleep_wall(&self, wall: Duration) {
        tokio::time::sleep(wall).await;
    }

    /// Sleeps until world time is `until`; returns at once if it has passed.
    pub async fn sleep_until(&self, until: Timestamp) {
        let left = Duration::try_from(until.duration_since(self.now())).unwrap_or(Duration::ZERO);
        self.sleep(left).await;
    }

    /// How one process tells another on this machine which world time it is: `anchor,world-anchor,speed`, the anchor in
    /// nanoseconds of the steady clock. `None` for a real clock, and for one that is held.
    #[must_use]
    pub fn to_env(&self) -> Option<String> {
        let scaled = self.0.scaled.as_ref()?;
        Some(format!("{},{},{}", scaled.anchor.get()?.as_nanos(), scaled.anchor_world, scaled.speed))
    }

    /// Reads what [`Clock::to_env`] wrote; `None` when it is not of that form.
    #[must_use]
    pub fn from_env(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ',');
        let anchor = Duration::from_nanos(parts.next()?.parse().ok()?);
        let anchor_world = parts.next()?.parse().ok()?;
        let speed: f64 = parts.next()?.parse().ok()?;
        (speed.is_finite() && speed > 0.0).then(|| Self::scaled(anchor, anchor_world, speed))
    }
}

/// A point in wall time that is only ever compared with itself: elapsed time of requests, spinners, renewals.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Wall time since [`Stopwatch::start`].
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scaled_clock_survives_its_text_form() {
        let world: Timestamp = "2025-03-04T09:00:00Z".parse().unwrap();
        let clock = Clock::scaled_from_now(world, 3600.0);
        let twin = Clock::from_env(&clock.to_env().unwrap()).unwrap();
        let apart = twin.now().duration_since(clock.now()).abs();
        assert!(apart < jiff::SignedDuration::from_mins(5), "{apart}");
        let held = Clock::held(world, 3600.0);
        assert_eq!((held.now(), held.to_env()), (world, None));
        held.release();
        assert!(held.now() >= world && held.to_env().is_some());
        assert!(Clock::from_env("yesterday").is_none());
        assert!(Clock::from_env(&format!("1,{world},-1")).is_none());
    }
}
