//! The house's one retry: bounded, jittered, honouring Retry-After. The clients' own retries are off everywhere.
//!
//! Measured in wall time, always: an outside system does not know the rehearsal's clock.

use std::time::Duration;

use tracing::debug;

use crate::error::{Class, Error, Result};

/// Longest `Retry-After` that is obeyed; a longer one is cut to it, and the attempts stay bounded.
const LONGEST_RETRY_AFTER: Duration = Duration::from_mins(1);

/// How often, and how patiently, a call is repeated after a [`Class::Transient`] failure.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// Attempts in all, the first one included; at least 1.
    pub attempts: u32,
    /// Backoff after the first failure (wall time); doubles with each further one.
    pub base: Duration,
    /// Longest backoff (wall time), unless the server asked for a longer one.
    pub cap: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 6, base: Duration::from_millis(100), cap: Duration::from_secs(5) }
    }
}

impl Retry {
    /// One attempt only.
    #[must_use]
    pub fn never() -> Self {
        Self { attempts: 1, ..Self::default() }
    }

    /// Calls `act` until it answers, fails for good, or the attempts are used up. For reads, and for writes that are
    /// the same when done twice. `act` may be an `async || …` that borrows what it needs (not [`AsyncFnMut`]: the compiler
    /// cannot yet prove such a call `Send`, and steps are boxed `Send` futures).
    ///
    /// # Errors
    /// The last failure of `act`.
    pub async fn read<T, F>(&self, mut act: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut attempt = 1;
        loop {
            let error = match act().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let Some(pause) = self.pause(attempt, &error) else { return Err(error) };
            log(attempt, pause, &error);
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    /// As [`Retry::read`], for a write that must not happen twice: after a transient failure `effect` is asked whether the
    /// write had its effect after all (`Some`: that is the answer; `None`: it may be repeated).
    ///
    /// # Errors
    /// The last failure of `act`; or that of `effect`, when it cannot be told whether the write happened.
    pub async fn write<T, F, E>(&self, mut act: impl FnMut() -> F, mut effect: impl FnMut() -> E) -> Result<T>
    where
        F: Future<Output = Result<T>>,
        E: Future<Output = Result<Option<T>>>,
    {
        let mut attempt = 1;
        loop {
            let error = match act().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            if !error.is_transient() {
                // The write before this one may have arrived late: then it is our own that is in the way.
                return match attempt {
                    1 => Err(error),
                    _ => self.read(&mut effect).await.ok().flatten().ok_or(error),
                };
            }
            let pause = self.pause(attempt, &error);
            log(attempt, pause.unwrap_or_default(), &error);
            // Even after the last attempt the effect is looked for: what happened must not be reported as failed.
            tokio::time::sleep(pause.unwrap_or(self.base)).await;
            if let Some(value) = self.read(&mut effect).await? {
                debug!(attempt, "the write had its effect although it failed");
                return Ok(value);
            }
            if pause.is_none() {
                return Err(error);
            }
            attempt += 1;
        }
    }

    /// How long to wait after failure number `attempt`; `None` when it is not to be repeated.
    fn pause(&self, attempt: u32, error: &Error) -> Option<Duration> {
        let Class::Transient { retry_after } = error.classified() else { return None };
        if attempt >= self.attempts {
            return None;
        }
        let full = self.base.saturating_mul(1 << (attempt - 1).min(16)).min(self.cap);
        // Between half and all of it, so that clients that failed together do not come back together.
        let jittered = full.mul_f64(0.5 + fastrand::f64() / 2.0);
        Some(retry_after.map_or(jittered, |asked| asked.min(LONGEST_RETRY_AFTER) + jittered.mul_f64(0.1)))
    }
}

/// What `whom` answers, for who can go on without: it is waited for no longer than `limit` (wall time).
pub async fn within<T>(whom: &str, limit: Duration, answer: impl Future<Output = Result<T>>) -> Result<T> {
    let late = || Error::outside(format!("{whom} did not answer within {} s", limit.as_secs()));
    tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| Err(late()))
}

fn log(attempt: u32, pause: Duration, error: &Error) {
    let (what, causes) = (error.what(), error.causes());
    debug!(attempt, pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX), what, ?causes, "attempt failed");
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn quick() -> Retry {
        Retry { attempts: 4, base: Duration::from_millis(1), cap: Duration::from_millis(2) }
    }

    fn reset() -> Error {
        Error::outside("connection reset").class(Class::Transient { retry_after: None })
    }

    #[tokio::test]
    async fn a_read_is_repeated_and_bounded() {
        let calls = Cell::new(0);
        let answer = quick()
            .read(async || {
                calls.set(calls.get() + 1);
                if calls.get() < 3 { Err(reset()) } else { Ok(calls.get()) }
            })
            .await;
        assert_eq!(answer.unwrap(), 3);
        let calls = Cell::new(0);
        let answer: Result<()> = quick()
            .read(async || {
                calls.set(calls.get() + 1);
                Err(reset())
            })
            .await;
        assert!(answer.is_err());
        assert_eq!(calls.get(), 4);
    }

    #[tokio::test]
    async fn what_is_not_transient_is_not_repeated() {
        let calls = Cell::new(0);
        let answer: Result<()> = quick()
            .read(async || {
                calls.set(calls.get() + 1);
                Err(Error::outside("no such thing").class(Class::NotFound))
            })
            .await;
        assert!(answer.unwrap_err().is_not_found());
        assert_eq!(calls.get(), 1);
    }

    #[tokio::test]
    async fn a_write_that_happened_is_not_repeated() {
        let writes = Cell::new(0);
        let answer = quick()
            .write(
                async || {
                    writes.set(writes.get() + 1);
                    Err(reset())
                },
                async || Ok(Some("there")),
            )
            .await;
        assert_eq!(answer.unwrap(), "there");
        assert_eq!(writes.get(), 1);
    }

    #[tokio::test]
    async fn a_write_that_arrives_late_is_no_conflict_with_others() {
        let (writes, looks) = (Cell::new(0), Cell::new(0));
        let answer = quick()
            .write(
                async || {
                    writes.set(writes.get() + 1);
                    Err::<&str, _>(if writes.get() == 1 {
                        reset()
                    } else {
                        Error::outside("409").class(Class::Conflict)
                    })
                },
                async || {
                    looks.set(looks.get() + 1);
                    Ok((looks.get() == 2).then_some("ours"))
                },
            )
            .await;
        assert_eq!(answer.unwrap(), "ours");
    }

    #[tokio::test]
    async fn a_write_without_effect_is_repeated() {
        let writes = Cell::new(0);
        let answer = quick()
            .write(
                async || {
                    writes.set(writes.get() + 1);
                    if writes.get() == 1 { Err(reset()) } else { Ok(writes.get()) }
                },
                async || Ok(None),
            )
            .await;
        assert_eq!(answer.unwrap(), 2);
    }

    #[test]
    fn retry_after_is_obeyed_within_bounds() {
        let asked = |seconds| {
            Error::outside("busy").class(Class::Transient { retry_after: Some(Duration::from_secs(seconds)) })
        };
        assert!(quick().pause(1, &asked(2)).unwrap() >= Duration::from_secs(2));
        assert!(quick().pause(1, &asked(3600)).unwrap() <= Duration::from_secs(61));
        assert!(quick().pause(4, &asked(1)).is_none());
    }

    /// Steps are boxed Send futures: a retried call must be one.
    #[allow(dead_code)]
    fn retried_calls_can_cross_threads(url: &str) -> futures::future::BoxFuture<'_, Result<usize>> {
        Box::pin(async move {
            let retry = Retry::default();
            retry
                .write(
                    async || {
                        tokio::task::yield_now().await;
                        Ok(url.len())
                    },
                    async || Ok(Some(url.len())),
                )
                .await?;
            retry.read(async || Ok(url.len())).await
        })
    }
}
