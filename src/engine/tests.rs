//! The run loop's promises that no scenario can force.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{
    Act, Answer, BoxFuture, Effect, Engine, Event, Facts, Listener, Plan, Probe, Question, RunState, Step, StepIo,
};
use crate::clock::Clock;
use crate::error::{Kind, Result};

struct Deaf;

impl Listener for Deaf {
    fn hear(&mut self, _event: &Event, _state: Option<&RunState>) {}

    fn ask(&mut self, _question: &Question) -> Result<Answer> {
        Ok(Answer::Refused)
    }

    fn ask_for_each(&mut self, _sheet: &str, _phrases: &[String]) -> Result<Answer> {
        Ok(Answer::Refused)
    }

    fn tick(&mut self, _waited: Duration) {}
}

/// Acts again and again, and nothing comes of it.
#[derive(Default)]
struct InVain(AtomicU32);

impl Step for InVain {
    fn id(&self) -> &'static str {
        "in-vain"
    }

    fn title(&self, _facts: &Facts) -> String {
        "Act in vain".into()
    }

    fn effect(&self) -> Effect {
        Effect::Repeatable
    }

    fn deadline(&self) -> Option<Duration> {
        Some(Duration::from_secs(60))
    }

    fn probe<'a>(&'a self, _facts: &'a Facts, _io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async { Ok(Probe::NotYet("nothing".into())) })
    }

    fn act<'a>(&'a self, _facts: &'a Facts, _io: &'a StepIo) -> BoxFuture<'a, Result<Act>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(async { Ok(Act::Waiting { note: "what never comes".into() }) })
    }
}

#[tokio::test]
async fn a_step_that_acts_at_every_look_is_called_up_at_its_deadline() {
    let world = "2025-03-04T09:00:00Z".parse().unwrap();
    let clock = Clock::scaled_from_now(world, 600.0);
    let mut deaf = Deaf;
    let mut engine = Engine::unrecorded(clock, CancellationToken::new(), &mut deaf, Facts::default());
    let ran =
        tokio::time::timeout(Duration::from_secs(20), engine.run(&Plan::new("test").step(InVain::default()))).await;
    let error = ran.expect("it ends").unwrap_err();
    assert_eq!(error.kind(), Kind::TimedOut);
    assert!(error.what().contains("what never comes"), "{}", error.what());
}
