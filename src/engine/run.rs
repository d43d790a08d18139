//! The run loop: takes a plan from top to bottom, and can be stopped and taken up again anywhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{FutureExt as _, join_all, try_join};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Stopwatch};
use crate::domain::{Evidence, Verdict};
use crate::error::{Error, Kind, Result};

use super::{
    Act, Answer, BoxFuture, Checked, Done, Effect, Event, FORMAT, Facts, Gate, GateState, Journal, Line, Listener,
    Plan, Probe, Question, Record, RunState, SeenEvent, Stage, Step, StepIo,
};

/// The copy of a run that others can see, and the lock on the world that it changes.
pub trait Shared: Send + Sync {
    /// Stores the folded state, by compare-and-swap.
    fn save<'a>(&'a self, state: &'a RunState) -> BoxFuture<'a, Result<()>>;
    /// Fails with [`Kind::Locked`] when the lock is no longer ours.
    fn still_ours(&self) -> BoxFuture<'_, Result<()>>;
    /// Who asked from elsewhere that the run stops, and what for.
    fn stop_asked_by(&self) -> Option<String> {
        None
    }
    /// Whether a person is asked something just now: nothing is in flight, and nobody needs to wait for the answer.
    fn rest(&self, _resting: bool) {}
}

/// No shared copy: for runs whose cluster does not exist yet.
#[derive(Debug)]
pub struct Local;

impl Shared for Local {
    fn save<'a>(&'a self, _state: &'a RunState) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn still_ours(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

/// The shortest wall time between two looks at the same thing.
const SHORTEST_POLL: Duration = Duration::from_millis(20);
/// The shortest wall time between two looks where news ends the pause: a crowd of changes is one look.
const SHORTEST_WAKE: Duration = Duration::from_millis(200);
/// Looks in a row that may fail before a wait is given up.
const FAILED_LOOKS: u32 = 5;

/// Runs one plan.
pub struct Engine<'a> {
    clock: Clock,
    cancel: CancellationToken,
    listener: &'a mut dyn Listener,
    /// `None` on a dry run and for unrecorded plans.
    book: Option<Book<'a>>,
    /// On a dry run, what the probes found is kept here.
    facts: Arc<Facts>,
    /// On a dry run: the first step that would act. What comes after it cannot be looked at yet.
    would_act: bool,
    /// Whether steps may act.
    acts: bool,
    /// What the gates said in this process.
    verdicts: BTreeMap<String, GateState>,
}

/// The journal, the shared copy and the state that both hold.
struct Book<'a> {
    journal: Journal,
    shared: &'a dyn Shared,
    state: RunState,
    by: String,
}

impl<'a> Engine<'a> {
    /// An engine for a run that begins now: writes its first record.
    pub async fn begin(
        clock: Clock,
        cancel: CancellationToken,
        listener: &'a mut dyn Listener,
        mut journal: Journal,
        shared: &'a dyn Shared,
        first: Record,
        by: String,
    ) -> Result<Self> {
        let state = RunState::begin(&first)?;
        journal.append(&Line { v: FORMAT, seq: state.seq, at: clock.now(), record: first.clone() })?;
        shared.save(&state).await?;
        listener.hear(&Event::Recorded(first), Some(&state));
        Ok(Self {
            clock,
            cancel,
            listener,
            facts: Arc::default(),
            would_act: false,
            verdicts: BTreeMap::new(),
            acts: true,
            book: Some(Book { journal, shared, state, by }),
        })
    }

    /// An engine that goes on with a run whose journal is here.
    pub async fn go_on(
        clock: Clock,
        cancel: CancellationToken,
        listener: &'a mut dyn Listener,
        journal: Journal,
        shared: &'a dyn Shared,
        state: RunState,
        by: String,
    ) -> Result<Self> {
        let book = Book { journal, shared, state, by: by.clone() };
        let mut engine = Self {
            clock,
            cancel,
            listener,
            facts: Arc::default(),
            would_act: false,
            acts: true,
            verdicts: BTreeMap::new(),
            book: Some(book),
        };
        engine.record(Record::RunResumed { by }).await?;
        Ok(engine)
    }

    /// An engine that looks and never acts.
    pub fn dry(clock: Clock, cancel: CancellationToken, listener: &'a mut dyn Listener, facts: Arc<Facts>) -> Self {
        Self { clock, cancel, listener, facts, would_act: false, acts: false, verdicts: BTreeMap::new(), book: None }
    }

    /// An engine that acts without a journal: for a plan of one step, which a probe finds again by itself.
    pub fn unrecorded(
        clock: Clock,
        cancel: CancellationToken,
        listener: &'a mut dyn Listener,
        facts: Arc<Facts>,
    ) -> Self {
        Self { acts: true, ..Self::dry(clock, cancel, listener, facts) }
    }

    #[must_use]
    pub fn state(&self) -> Option<&RunState> {
        self.book.as_ref().map(|book| &book.state)
    }

    /// What the gates said in this process, by gate.
    #[must_use]
    pub fn verdicts(&self) -> &BTreeMap<String, GateState> {
        &self.verdicts
    }

    /// The choices so far.
    #[must_use]
    pub fn facts(&self) -> &Arc<Facts> {
        self.book.as_ref().map_or(&self.facts, |book| &book.state.facts)
    }

    /// Tells the listener something that is not journalled.
    pub fn tell(&mut self, event: SeenEvent) {
        let state = self.book.as_ref().map(|book| &book.state);
        self.listener.hear(&Event::Seen(event), state);
    }

    /// Journal, fold, show, share. A dry run only shows.
    async fn record(&mut self, record: Record) -> Result<()> {
        let Some(book) = &mut self.book else {
            self.listener.hear(&Event::Recorded(record), None);
            return Ok(());
        };
        let mut next = book.state.clone();
        next.apply(&record)?;
        book.journal.append(&Line { v: FORMAT, seq: next.seq, at: self.clock.now(), record: record.clone() })?;
        book.state = next;
        self.listener.hear(&Event::Recorded(record), Some(&book.state));
        book.shared.save(&book.state).await
    }

    /// Runs the plan to its end, or to where it stops.
    pub async fn run(&mut self, plan: &Plan) -> Result<()> {
        for stage in &plan.stages {
            self.stop_if_asked("nothing")?;
            match stage {
                Stage::Gates(gates) => self.gates(gates).await?,
                Stage::Confirm(question) => self.confirm(question.as_ref()).await?,
                Stage::Step(step) => self.step(step.as_ref()).await?,
            }
        }
        Ok(())
    }

    /// Records how the run ended; called once, with the outcome of [`Engine::run`].
    pub async fn end(&mut self, ended: super::Ended) -> Result<()> {
        self.record(Record::RunEnded(ended)).await
    }

    fn stop_if_asked(&self, in_flight: &str) -> Result<()> {
        if !self.cancel.is_cancelled() {
            return Ok(());
        }
        Err(self.stopped(in_flight))
    }

    fn stopped(&self, in_flight: &str) -> Error {
        let by = self.book.as_ref().and_then(|book| book.shared.stop_asked_by());
        match by {
            Some(by) => Error::new(Kind::Interrupted, format!("stopped as asked by {by}; in flight: {in_flight}"))
                .hint("see first what came of it: gospel-release status"),
            None => Error::new(Kind::Interrupted, format!("stopped as asked; in flight: {in_flight}")),
        }
    }

    fn intended(&self, step: &str) -> bool {
        self.state().is_some_and(|state| state.steps.contains_key(step))
    }

    fn io(&self, id: &'static str, events: &UnboundedSender<SeenEvent>) -> StepIo {
        StepIo {
            clock: self.clock.clone(),
            cancel: self.cancel.clone(),
            intended: self.intended(id),
            id,
            events: events.clone(),
        }
    }

    /// All gates at once; each verdict is journalled as it comes. Once a step has begun they are history.
    ///
    /// The gates go on while a verdict is written. One that nobody drives may just have been handed a lock that the writing waits
    /// for (the turn to renew a sign-in), and then neither would ever end: "futurelock", Oxide's RFD 609.
    async fn gates(&mut self, gates: &[Box<dyn Gate>]) -> Result<()> {
        if self.state().is_some_and(|state| state.changed_the_world() || state.confirmed.is_some()) {
            return Ok(());
        }
        let facts = Arc::clone(self.facts());
        let (events, heard) = unbounded_channel();
        let ios: Vec<StepIo> = gates.iter().map(|gate| self.io(gate.id(), &events)).collect();
        for gate in gates {
            self.tell(SeenEvent::GateStarted { id: gate.id(), title: gate.title() });
        }
        let (answers, answered) = unbounded_channel();
        let asking = gates.iter().map(Box::as_ref).zip(&ios).map(|(gate, io)| {
            let (facts, answers) = (&facts, answers.clone());
            // Nobody listens any more where a stop was asked for.
            async move { drop(answers.send((gate, gate.check(facts, io).await))) }
        });
        let asking = join_all(asking).map(Ok);
        drop(answers);
        let (_, blocked) = try_join(asking, self.decide(answered, heard)).await?;
        if blocked.is_empty() { Ok(()) } else { Err(blocked_by(blocked)) }
    }

    /// Journals the gates' answers until all have come; returns those that do not let through.
    async fn decide(
        &mut self,
        mut answered: UnboundedReceiver<(&dyn Gate, Result<Checked>)>,
        mut heard: UnboundedReceiver<SeenEvent>,
    ) -> Result<Vec<(String, Checked)>> {
        let mut blocked = Vec::new();
        let cancel = self.cancel.clone();
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => {
                    self.stop_if_asked("the checklist (it changes nothing)")?;
                }
                Some(event) = heard.recv() => self.tell(event),
                answer = answered.recv() => {
                    let Some((gate, answer)) = answer else { return Ok(blocked) };
                    let checked = answer.unwrap_or_else(|error| unanswered(&error));
                    self.decided(gate, &checked).await?;
                    if !checked.verdict.lets_through() {
                        blocked.push((gate.id().to_owned(), checked));
                    }
                }
                () = tokio::time::sleep(Duration::from_millis(100)) => self.listener.tick(Duration::ZERO),
            }
        }
    }

    async fn decided(&mut self, gate: &dyn Gate, checked: &Checked) -> Result<()> {
        let Checked { verdict, evidence, facts, .. } = checked.clone();
        let (id, title) = (gate.id().to_owned(), gate.title());
        let said = GateState { title: title.clone(), verdict: verdict.clone(), evidence: evidence.clone() };
        self.record(Record::GateDecided { gate: id.clone(), title, verdict, evidence, facts }).await?;
        self.verdicts.insert(id, said);
        if self.book.is_none() {
            Facts::learn(&mut self.facts, &checked.facts);
        }
        Ok(())
    }

    async fn confirm(&mut self, question: &(dyn Fn(&Facts) -> Question + Send + Sync)) -> Result<()> {
        let Some(book) = &self.book else {
            if !self.acts {
                let text = question(self.facts()).sheet;
                self.tell(SeenEvent::Sheet { text });
            }
            return Ok(());
        };
        if book.state.confirmed.is_some() {
            return Ok(());
        }
        let question = question(&book.state.facts);
        let (by, shared) = (book.by.clone(), book.shared);
        shared.rest(true);
        let answer = tokio::task::block_in_place(|| self.listener.ask(&question));
        shared.rest(false);
        self.stop_if_asked("nothing")?;
        match answer? {
            Answer::Refused => Err(Error::usage("not confirmed; nothing was changed")),
            answer => self.record(Record::Confirmed { answer, by }).await,
        }
    }

    /// Look; act if needed; look again until it is done, or its time is up.
    async fn step(&mut self, step: &dyn Step) -> Result<()> {
        let title = step.title(self.facts());
        if self.would_act {
            self.tell(SeenEvent::WouldAct { id: step.id(), title, note: String::new() });
            return Ok(());
        }
        self.tell(SeenEvent::StepStarted { id: step.id(), title: title.clone() });
        let since = self.clock.now();
        let until = step.deadline().and_then(|limit| since.checked_add(limit).ok());
        let mut acted = false;
        let mut failed_looks = 0;
        // The look before the last act does not count: what was just done deserves one more look before the time is
        // called up, and so does a look that was not answered.
        let mut time_was_up = false;
        let mut waited_for;
        loop {
            let looked_at = self.clock.now();
            let mut acted_now = false;
            // What was just done is mostly there: it is looked at again at once, and later acts are given their time.
            let mut first_act = false;
            match self.look(step).await {
                Err(error) if error.is_transient() && failed_looks < FAILED_LOOKS => {
                    failed_looks += 1;
                    self.tell(SeenEvent::Retrying { id: step.id(), what: error.to_string(), attempt: failed_looks });
                    waited_for = error.to_string();
                }
                Err(error) => return Err(error),
                Ok(Probe::Done(done)) => return self.done(step, title, done).await,
                Ok(Probe::Conflict(why)) => {
                    return Err(Error::outside(format!("{title}: {why}")).class(crate::error::Class::NeedsHuman));
                }
                Ok(Probe::NotYet(note)) if !self.acts => {
                    self.would_act = true;
                    self.tell(SeenEvent::WouldAct { id: step.id(), title, note });
                    return Ok(());
                }
                Ok(Probe::NotYet(note)) => {
                    failed_looks = 0;
                    waited_for = note;
                    let may_act = match step.effect() {
                        Effect::ReadOnly => false,
                        Effect::Repeatable => true,
                        Effect::OneWay => !acted,
                    };
                    if may_act {
                        match self.act(step).await? {
                            Act::Done(done) => return self.done(step, title, done).await,
                            Act::Waiting { note } => {
                                first_act = !acted;
                                acted = true;
                                acted_now = true;
                                if !note.is_empty() {
                                    waited_for = note;
                                }
                            }
                        }
                    }
                }
            }
            if until.is_some_and(|until| looked_at >= until) && failed_looks == 0 {
                if time_was_up || !acted_now {
                    return Err(step.overdue(&waited_for));
                }
                time_was_up = true;
            }
            self.tell(SeenEvent::Waiting { id: step.id(), note: waited_for.clone(), since, until });
            self.pause(step, &waited_for, first_act).await?;
        }
    }

    /// A look may be dropped at any time: it changes nothing.
    async fn look(&mut self, step: &dyn Step) -> Result<Probe> {
        let facts = Arc::clone(self.facts());
        let (events, heard) = unbounded_channel();
        let io = self.io(step.id(), &events);
        let cancel = self.cancel.clone();
        let looking = step.probe(&facts, &io);
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(self.stopped(&step.title(&facts))),
            found = self.listening(looking, heard) => found,
        }
    }

    /// Acting is never dropped half way by us: a stop waits for it.
    async fn act(&mut self, step: &dyn Step) -> Result<Act> {
        self.stop_if_asked(&step.title(self.facts()))?;
        if let Some(book) = &self.book {
            book.shared.still_ours().await?;
        }
        // Who asks us to stop does so through the lock.
        self.stop_if_asked(&step.title(self.facts()))?;
        let repeated = step.effect() == Effect::Repeatable && self.intended(step.id());
        if !repeated {
            self.record(Record::StepIntent { step: step.id().to_owned() }).await?;
        }
        self.tell(SeenEvent::StepActing { id: step.id() });
        let facts = Arc::clone(self.facts());
        let (events, heard) = unbounded_channel();
        let io = self.io(step.id(), &events);
        match self.listening(step.act(&facts, &io), heard).await {
            // Ctrl-C at a terminal reaches the programs of a step as well as us: what they broke off is found by the next look.
            Err(error) if error.kind() == Kind::Outside && self.cancel.is_cancelled() => {
                Err(error.told_by(self.stopped(&step.title(&facts))))
            }
            acted => acted,
        }
    }

    /// Drives a future to its end and passes on what it says meanwhile.
    async fn listening<T>(&mut self, work: BoxFuture<'_, T>, mut heard: UnboundedReceiver<SeenEvent>) -> T {
        let started = Stopwatch::start();
        tokio::pin!(work);
        let result = loop {
            tokio::select! {
                biased;
                Some(event) = heard.recv() => self.tell(event),
                result = &mut work => break result,
                () = tokio::time::sleep(Duration::from_millis(100)) => self.listener.tick(started.elapsed()),
            }
        };
        while let Ok(event) = heard.try_recv() {
            self.tell(event);
        }
        result
    }

    async fn done(&mut self, step: &dyn Step, title: String, done: Done) -> Result<()> {
        let Done { evidence, facts } = done;
        if self.book.is_none() {
            Facts::learn(&mut self.facts, &facts);
        }
        let already = self.state().is_some_and(|state| state.is_done(step.id()) && state.knows(&facts));
        let record = Record::StepDone { step: step.id().to_owned(), title, evidence, facts };
        if already {
            // A resumed run looked again and found what the journal says: nothing new to write.
            let state = self.book.as_ref().map(|book| &book.state);
            self.listener.hear(&Event::Recorded(record), state);
            return Ok(());
        }
        self.record(record).await
    }

    /// Waits for the next look, in world time but not faster than [`SHORTEST_POLL`], or for news; a stop ends it.
    async fn pause(&mut self, step: &dyn Step, waiting_for: &str, short: bool) -> Result<()> {
        let every = if short { Duration::ZERO } else { step.every() };
        let mut pause = self.clock.to_wall(every).max(SHORTEST_POLL);
        let mut news = step.changed().unwrap_or_else(|| Box::pin(std::future::pending())).fuse();
        let started = Stopwatch::start();
        let cancel = self.cancel.clone();
        while started.elapsed() < pause {
            let left = pause.saturating_sub(started.elapsed()).min(Duration::from_millis(250));
            tokio::select! {
                () = cancel.cancelled() => {
                    return self.stop_if_asked(&format!("{}: {waiting_for}", step.title(self.facts())));
                }
                () = &mut news => pause = pause.min(SHORTEST_WAKE),
                () = tokio::time::sleep(left) => self.listener.tick(started.elapsed()),
            }
        }
        Ok(())
    }
}

/// An error is the verdict "unknown", with the error as evidence.
fn unanswered(error: &Error) -> Checked {
    let mut evidence = Evidence::new(error.to_string());
    for cause in error.causes() {
        evidence = evidence.fact("because", cause, None);
    }
    for seen in error.evidence() {
        evidence = evidence.fact("seen", seen.clone(), None);
    }
    Checked { verdict: Verdict::Unknown, evidence, fix: error.hints().first().cloned(), facts: Vec::new() }
}

/// Names the gates and what mends them. What they saw was told with each verdict, and is not told again.
fn blocked_by(blocked: Vec<(String, Checked)>) -> Error {
    let names: Vec<&str> = blocked.iter().map(|(id, _)| id.as_str()).collect();
    let gates = if names.len() == 1 { "gate" } else { "gates" };
    let error = Error::new(Kind::GateBlocked, format!("blocked by {} {gates}: {}", names.len(), names.join(", ")));
    blocked.into_iter().filter_map(|(_, checked)| checked.fix).fold(error, Error::hint)
}
