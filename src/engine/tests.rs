//! The run loop's promises that no scenario can force.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::{
    Act, Answer, BoxFuture, Checked, Effect, Engine, Event, Facts, Gate, Header, Journal, Listener, Plan, Probe,
    Question, Record, RunState, Shared, Step, StepIo,
};
use crate::clock::Clock;
use crate::domain::{Evidence, WorldId, WorldKind};
use crate::error::{Error, Kind, Result};

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
    let mut engine = Engine::unrecorded(clock, CancellationToken::new(), &mut deaf, Arc::default());
    let ran =
        tokio::time::timeout(Duration::from_secs(20), engine.run(&Plan::new("test").step(InVain::default()))).await;
    let error = ran.expect("it ends").unwrap_err();
    assert_eq!(error.kind(), Kind::TimedOut);
    assert!(error.what().contains("what never comes"), "{}", error.what());
}

/// Ends as a program does that Ctrl-C reached too.
struct BrokenOff(CancellationToken);

impl Step for BrokenOff {
    fn id(&self) -> &'static str {
        "push"
    }

    fn title(&self, _facts: &Facts) -> String {
        "Push the tag".into()
    }

    fn effect(&self) -> Effect {
        Effect::Repeatable
    }

    fn probe<'a>(&'a self, _facts: &'a Facts, _io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async { Ok(Probe::NotYet("nothing".into())) })
    }

    fn act<'a>(&'a self, _facts: &'a Facts, _io: &'a StepIo) -> BoxFuture<'a, Result<Act>> {
        self.0.cancel();
        Box::pin(async {
            Err(Error::outside("git push was ended by a signal").seen("a lock file stayed").hint("rm it"))
        })
    }
}

#[tokio::test]
async fn what_a_stop_broke_off_is_a_stop_and_no_failure() {
    let cancel = CancellationToken::new();
    let mut deaf = Deaf;
    let mut engine = Engine::unrecorded(Clock::real(), cancel.clone(), &mut deaf, Arc::default());
    let error = engine.run(&Plan::new("test").step(BrokenOff(cancel))).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Interrupted);
    assert_eq!(error.what(), "stopped as asked; in flight: Push the tag");
    assert_eq!(error.causes(), ["git push was ended by a signal"]);
    assert_eq!((error.evidence(), error.hints()), (&["a lock file stayed".to_owned()][..], &["rm it".to_owned()][..]));
}

/// What gates and the shared copy both need for a moment, as both sign in to the cluster; a fair lock is handed to who waits
/// longest, whether he is being driven or not.
type Door = Arc<Mutex<()>>;

struct Sharing(Door);

impl Shared for Sharing {
    fn save<'a>(&'a self, _state: &'a RunState) -> BoxFuture<'a, Result<()>> {
        Box::pin(async {
            drop(self.0.lock().await);
            Ok(())
        })
    }

    fn still_ours(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

/// Goes through the door, and stays there for a while.
struct Through {
    id: &'static str,
    door: Door,
    stays: Duration,
}

impl Gate for Through {
    fn id(&self) -> &'static str {
        self.id
    }

    fn title(&self) -> String {
        self.id.to_owned()
    }

    fn check<'a>(&'a self, _facts: &'a Facts, _io: &'a StepIo) -> BoxFuture<'a, Result<Checked>> {
        Box::pin(async {
            let inside = self.door.lock().await;
            tokio::time::sleep(self.stays).await;
            drop(inside);
            Ok(Checked::pass(Evidence::new("went through")))
        })
    }
}

fn started() -> Record {
    let world = WorldId {
        kind: WorldKind::Rehearsal,
        account: None,
        cluster: "kube-system:1".into(),
        namespace: "production".into(),
        repository: "owner/name".into(),
    };
    let header = Header {
        run: "20250304t090000z-promote-abcd".parse().unwrap(),
        command: "promote".into(),
        project: "test".into(),
        world,
        tool: "0.1.0".into(),
        steps: Vec::new(),
        plan_hash: String::new(),
        by: "dana@laptop".into(),
        started_at: "2025-03-04T09:00:00Z".parse().unwrap(),
        config: serde_json::Value::Null,
        options: serde_json::Value::Null,
    };
    Record::RunStarted { header: Arc::new(header), facts: Vec::new() }
}

#[tokio::test]
async fn a_verdict_is_written_while_other_gates_wait_for_what_the_writing_needs() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::create(&dir.path().join("journal.jsonl")).unwrap();
    let door = Door::default();
    let sharing = Sharing(door.clone());
    let mut deaf = Deaf;
    let (clock, cancel) = (Clock::real(), CancellationToken::new());
    let mut engine =
        Engine::begin(clock, cancel, &mut deaf, journal, &sharing, started(), "dana@laptop".into()).await.unwrap();
    let gate = |id| -> Box<dyn Gate> { Box::new(Through { id, door: door.clone(), stays: Duration::from_millis(5) }) };
    let plan = Plan::new("test").gates(vec![gate("first"), gate("second"), gate("third")]);
    let ran = tokio::time::timeout(Duration::from_secs(10), engine.run(&plan)).await;
    ran.expect("no gate holds up the others").unwrap();
    assert_eq!(engine.state().unwrap().gates.len(), 3);
}
