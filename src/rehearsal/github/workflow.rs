//! The release workflow (`cd-production.yml`): regression, approval, builds, the overlay commit.
//!
//! Durations are world time, of a pipeline of this size: regression 6 min, a build 3 min, the overlay 30 s.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::state::{Approval, CD_WORKFLOW, Deployment, Job, Pending, Run, State};
use crate::clock::Clock;
use crate::domain::{Digest, ImageRef};
use crate::rehearsal::scenario::Answer;
use crate::rehearsal::{World, git};

/// GitHub's limit on waiting for a review (docs.github.com, "Reviewing deployments").
const REVIEW_LIMIT: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Why a run does not go on.
enum End {
    /// A job failed; the jobs that need it are skipped.
    Failed,
    Cancelled,
    /// The world has ended.
    Gone,
}

/// Starts the workflow for a pushed release tag (`release/v1.2.0`).
pub fn start(world: &Arc<World>, tag: &str) {
    let Some(info) = world.repo.tag(tag) else { return };
    let now = world.clock.now();
    let actor = info.annotation.as_ref().map_or("dana-dev", |(_, tagger)| super::json::login_of(tagger));
    let id = world.hub.change(|state| {
        // A concurrency group holds one run that waits; a newer one takes its place.
        for run in state.runs.iter_mut().filter(|run| run.workflow == CD_WORKFLOW && run.status == "pending") {
            run.cancelled = true;
        }
        let number = state.runs.iter().filter(|run| run.workflow == CD_WORKFLOW).map(|run| run.number).max();
        let id = state.id();
        state.runs.push(Run {
            id,
            number: number.unwrap_or(0) + 1,
            attempt: 1,
            workflow: CD_WORKFLOW,
            head: tag.to_owned(),
            sha: info.commit.clone(),
            actor: actor.to_owned(),
            status: "queued".into(),
            conclusion: None,
            created: now,
            started: now,
            updated: now,
            jobs: Vec::new(),
            pending: None,
            approvals: Vec::new(),
            cancelled: false,
            kept: Vec::new(),
        });
        id
    });
    drive(world, id);
}

/// Starts another attempt of a finished run; with `failed_only`, what succeeded is kept. False if it is not finished.
pub fn rerun(world: &Arc<World>, id: i64, failed_only: bool) -> bool {
    let now = world.clock.now();
    let again = world.hub.change(|state| {
        let Some(run) = state.run_mut(id).filter(|run| run.is_over()) else { return false };
        let done = |job: &&&Job| failed_only && job.conclusion.as_deref() == Some("success");
        run.kept = run.latest_jobs().iter().filter(done).map(|job| job.name.clone()).collect();
        (run.attempt, run.status, run.conclusion) = (run.attempt + 1, "queued".into(), None);
        (run.started, run.updated, run.cancelled) = (now, now, false);
        true
    });
    if again {
        drive(world, id);
    }
    again
}

/// Opens or shuts the approval gate of a run. Returns the deployment that waited, `None` if none does.
pub fn decide(state: &mut State, run: i64, by: &str, approved: bool, comment: &str, at: Timestamp) -> Option<i64> {
    let found = state.run_mut(run)?;
    let pending = found.pending.take()?;
    found.updated = at;
    let (by, comment) = (by.to_owned(), comment.to_owned());
    found.approvals.push(Approval { environment: pending.environment, by, approved, comment });
    state.deployment_is(pending.deployment, if approved { "in_progress" } else { "failure" }, at);
    Some(pending.deployment)
}

fn drive(world: &Arc<World>, run: i64) {
    let driver = Driver { world: Arc::downgrade(world), clock: world.clock.clone(), changed: world.hub.changed(), run };
    tokio::spawn(driver.finish_run());
}

/// One attempt of a run. It holds the world weakly, so that a world may end while a run waits.
struct Driver {
    world: Weak<World>,
    clock: Clock,
    changed: watch::Receiver<u64>,
    run: i64,
}

impl Driver {
    async fn finish_run(mut self) {
        let ended = self.jobs().await;
        let conclusion = match ended {
            Ok(()) => "success",
            Err(End::Failed) => "failure",
            Err(End::Cancelled) => "cancelled",
            Err(End::Gone) => return,
        };
        let Ok(world) = self.world() else { return };
        let now = self.clock.now();
        world.hub.change(|state| {
            if let Some(pending) = state.run_mut(self.run).and_then(|run| run.pending.take()) {
                state.deployment_is(pending.deployment, "error", now);
            }
            let id = state.id();
            let Some(run) = state.run_mut(self.run) else { return };
            for job in run.jobs.iter_mut().filter(|job| job.status != "completed") {
                job.end("cancelled", now);
            }
            let attempt = run.attempt;
            for (n, name) in ["approve", "build", "update-overlay"].into_iter().enumerate() {
                let is = |job: &&Job| job.name == name || job.name.starts_with(&format!("{name} ("));
                let there = run.latest_jobs().iter().any(is);
                if conclusion != "success" && !there {
                    let id = id * 10 + i64::try_from(n).unwrap_or(0);
                    let mut job = Job { attempt, ..new_job(id, name, now) };
                    job.end("skipped", now);
                    run.jobs.push(job);
                }
            }
            (run.status, run.conclusion, run.updated) = ("completed".into(), Some(conclusion.into()), now);
        });
    }

    async fn jobs(&mut self) -> Result<(), End> {
        self.turn().await?;
        self.job("regression", mins(6)).await?;
        self.approval().await?;
        let images = self.builds().await?;
        self.overlay(&images).await
    }

    fn world(&self) -> Result<Arc<World>, End> {
        self.world.upgrade().ok_or(End::Gone)
    }

    fn change(&self, change: impl FnOnce(&mut Run, Timestamp)) -> Result<(), End> {
        let now = self.clock.now();
        self.world()?.hub.change(|state| {
            if let Some(run) = state.run_mut(self.run) {
                run.updated = now;
                change(run, now);
            }
        });
        Ok(())
    }

    fn look<T>(&self, look: impl FnOnce(&Run) -> T) -> Result<T, End> {
        self.world()?.hub.read(|state| state.run(self.run).map(look)).ok_or(End::Gone)
    }

    /// Waits for something to change, or for a time (world); ends when the run is cancelled.
    async fn pause(&mut self, until: Option<Timestamp>) -> Result<(), End> {
        if self.look(|run| run.cancelled)? {
            return Err(End::Cancelled);
        }
        let clock = self.clock.clone();
        let time = async {
            match until {
                Some(until) => clock.sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = time => Ok(()),
            changed = self.changed.changed() => changed.map_err(|_| End::Gone),
        }
    }

    async fn sleep(&mut self, world: Duration) -> Result<(), End> {
        let until = self.after(world);
        while self.clock.now() < until {
            self.pause(Some(until)).await?;
        }
        if self.look(|run| run.cancelled)? { Err(End::Cancelled) } else { Ok(()) }
    }

    fn after(&self, world: Duration) -> Timestamp {
        let now = self.clock.now();
        now.checked_add(SignedDuration::try_from(world).unwrap_or(SignedDuration::ZERO)).unwrap_or(now)
    }

    /// Waits until no other run holds the concurrency group.
    async fn turn(&mut self) -> Result<(), End> {
        loop {
            let (world, now) = (self.world()?, self.clock.now());
            let free = world.hub.read(|state| {
                let busy = |run: &Run| run.id != self.run && !run.is_over() && run.status != "pending";
                !state.runs.iter().any(|run| run.workflow == CD_WORKFLOW && busy(run))
            });
            let status = if free { "in_progress" } else { "pending" };
            if self.look(|run| run.status != status)? {
                world.hub.change(|state| {
                    if let Some(run) = state.run_mut(self.run) {
                        (run.status, run.updated) = (status.into(), now);
                    }
                });
            }
            drop(world);
            if free {
                return Ok(());
            }
            self.pause(None).await?;
        }
    }

    fn kept(&self, name: &str) -> Result<bool, End> {
        self.look(|run| run.kept.iter().any(|kept| kept == name))
    }

    /// Adds a job of this attempt in `queued`.
    fn add(&self, name: &str) -> Result<(), End> {
        let now = self.clock.now();
        self.world()?.hub.change(|state| {
            let id = state.id();
            if let Some(run) = state.run_mut(self.run) {
                let attempt = run.attempt;
                run.jobs.push(Job { attempt, ..new_job(id, name, now) });
            }
        });
        Ok(())
    }

    fn begin(&self, name: &str) -> Result<(), End> {
        self.change(|run, now| {
            if let Some(job) = run.job_mut(name) {
                job.start(now);
            }
        })
    }

    /// Ends a job; the scenario's failing job fails, at its first attempt.
    fn finish(&self, name: &str) -> Result<(), End> {
        let fails = self.fails(name)?;
        self.end(name, if fails { "failure" } else { "success" })?;
        if fails { Err(End::Failed) } else { Ok(()) }
    }

    fn end(&self, name: &str, conclusion: &str) -> Result<(), End> {
        self.change(|run, now| {
            if let Some(job) = run.job_mut(name) {
                job.end(conclusion, now);
            }
        })
    }

    fn fails(&self, name: &str) -> Result<bool, End> {
        let first = self.look(|run| run.attempt == 1)?;
        Ok(first && self.world()?.scenario.world.workflow.fails.as_deref() == Some(name))
    }

    async fn job(&mut self, name: &str, takes: Duration) -> Result<(), End> {
        if self.kept(name)? {
            return Ok(());
        }
        self.add(name)?;
        self.begin(name)?;
        self.sleep(takes).await?;
        self.finish(name)
    }

    /// The job `approve`, behind the environment's required reviewers.
    async fn approval(&mut self) -> Result<(), End> {
        const NAME: &str = "approve";
        if self.kept(NAME)? {
            return Ok(());
        }
        self.add(NAME)?;
        let (world, now) = (self.world()?, self.clock.now());
        let environment = world.shape.environment.clone();
        let rule = &world.scenario.world.approval;
        let after = rule.after.parse::<SignedDuration>().unwrap_or(SignedDuration::from_mins(8));
        let (answer, limit) = (rule.answer, rule.expires_after.parse().unwrap_or(REVIEW_LIMIT));
        let (guarded, deployment) = world.hub.change(|state| {
            let guarded = state.environments.get(&environment).is_some_and(|found| !found.reviewers.is_empty());
            let deployment = state.id();
            if let Some(run) = state.run_mut(self.run) {
                let (sha, reference) = (run.sha.clone(), run.head.clone());
                if guarded {
                    run.status = "waiting".into();
                    run.pending = Some(Pending { environment: environment.clone(), deployment });
                    if let Some(job) = run.job_mut(NAME) {
                        job.status = "waiting".into();
                    }
                }
                let (run, created, states) = (self.run, now, Vec::new());
                state.deployments.push(Deployment {
                    id: deployment,
                    sha,
                    reference,
                    environment,
                    run,
                    created,
                    states,
                });
            }
            state.deployment_is(deployment, if guarded { "waiting" } else { "in_progress" }, now);
            (guarded, deployment)
        });
        drop(world);
        if guarded {
            self.review(now, after, limit, answer).await?;
        }
        self.begin(NAME)?;
        self.sleep(Duration::from_secs(5)).await?;
        self.finish(NAME)?;
        let (world, now) = (self.world()?, self.clock.now());
        world.hub.change(|state| state.deployment_is(deployment, "success", now));
        Ok(())
    }

    /// Waits at the closed gate: the rehearsed reviewer answers after a while, somebody else may come first.
    async fn review(
        &mut self,
        asked: Timestamp,
        after: SignedDuration,
        limit: SignedDuration,
        answer: Answer,
    ) -> Result<(), End> {
        let plus = |duration| asked.checked_add(duration).unwrap_or(asked);
        let (answers, expires) = (plus(after), plus(limit));
        let next = if answer == Answer::Never { expires } else { answers };
        while self.look(|run| run.pending.is_some())? {
            if self.clock.now() < next {
                self.pause(Some(next)).await?;
                continue;
            }
            let (world, now) = (self.world()?, self.clock.now());
            match answer {
                Answer::Approve => {
                    let comment = "The release sheet looks right. Ship it.";
                    world.hub.change(|state| decide(state, self.run, "rhea-reviewer", true, comment, now));
                }
                Answer::Reject => {
                    let comment = "Not today: support is short of people until Thursday.";
                    world.hub.change(|state| decide(state, self.run, "amon-oncall", false, comment, now));
                }
                Answer::Never => {
                    world.hub.change(|state| {
                        let pending = state.run_mut(self.run).and_then(|run| run.pending.take());
                        if let Some(pending) = pending {
                            state.deployment_is(pending.deployment, "error", now);
                        }
                    });
                    self.end("approve", "failure")?;
                    return Err(End::Failed);
                }
            }
        }
        if self.look(|run| run.approvals.last().is_some_and(|approval| approval.approved))? {
            return self.change(|run, _| run.status = "in_progress".into());
        }
        self.end("approve", "failure")?;
        Err(End::Failed)
    }

    /// Builds, or tags, one image per service; a failing build stops the others (`fail-fast`).
    async fn builds(&mut self) -> Result<BTreeMap<String, (String, Digest)>, End> {
        let world = self.world()?;
        let services = world.shape.services.clone();
        drop(world);
        let name = |service: &str| format!("build ({service})");
        let mut images = BTreeMap::new();
        let mut ends = Vec::new();
        for (n, service) in services.into_iter().enumerate() {
            if self.kept(&name(&service))? {
                self.image(&service, &mut images)?;
                continue;
            }
            self.add(&name(&service))?;
            self.begin(&name(&service))?;
            let takes = if self.fails(&name(&service))? {
                mins(2)
            } else {
                mins(3) + Duration::from_secs(u64::try_from(n * 7 % 30).unwrap_or(0))
            };
            ends.push((self.after(takes), service));
        }
        ends.sort();
        for (at, service) in ends {
            let left = Duration::try_from(at.duration_since(self.clock.now())).unwrap_or(Duration::ZERO);
            self.sleep(left).await?;
            if self.fails(&name(&service))? {
                return self.finish(&name(&service)).map(|()| images);
            }
            if !self.image(&service, &mut images)? {
                self.end(&name(&service), "failure")?;
                return Err(End::Failed);
            }
            self.finish(&name(&service))?;
        }
        Ok(images)
    }

    /// Puts one image under the release's tag. False when the tag names other bytes already (tags are immutable).
    fn image(&self, service: &str, images: &mut BTreeMap<String, (String, Digest)>) -> Result<bool, End> {
        let world = self.world()?;
        let (sha, head, attempt) = self.look(|run| (run.sha.clone(), run.head.clone(), run.attempt))?;
        let tag = head.trim_start_matches("release/").to_owned();
        let object = world.shape.object(service);
        let knobs = &world.scenario.world;
        if attempt == 1 && knobs.workflow.loses_image.as_deref() == Some(service) {
            // The job says success; what it built never arrived.
            let digest = world.registry.build(&object, &sha, "lost");
            world.registry.remove(&object, &digest);
            images.insert(object, (tag, digest));
            return Ok(true);
        }
        let named = |tag: &str| ImageRef {
            name: format!("{}/{object}", world.shape.registry()),
            tag: Some(tag.to_owned()),
            digest: None,
        };
        let soaked = world.registry.resolve(&named(&git::sha_tag(&sha))).filter(|_| !knobs.rebuild);
        let digest = soaked.unwrap_or_else(|| world.registry.build(&object, &sha, &head));
        let tagged = world.registry.tag(&object, &tag, &digest).is_ok();
        images.insert(object, (tag, digest));
        Ok(tagged)
    }

    /// Commits the production overlay on main; rebases and pushes again when somebody was faster.
    async fn overlay(&mut self, images: &BTreeMap<String, (String, Digest)>) -> Result<(), End> {
        const NAME: &str = "update-overlay";
        if self.kept(NAME)? {
            return Ok(());
        }
        self.add(NAME)?;
        self.begin(NAME)?;
        for _ in 0..5 {
            let tip = self.world()?.repo.head("main").ok_or(End::Gone)?;
            self.sleep(Duration::from_secs(30)).await?;
            if self.fails(NAME)? {
                break;
            }
            let world = self.world()?;
            if world.repo.overlay_push_loses() {
                let (message, file) = ("docs(web): name the reader's shortcuts", "shortcuts.ts");
                if let Some(change) = git::http::somebody_else(&world, "joel-k", message, file) {
                    world.hub.on_push(&world, &[change]);
                }
            }
            let head = self.look(|run| run.head.clone())?;
            let message = format!("chore(release): production {}\n", head.trim_start_matches("release/"));
            let bot = git::author(git::BOT, self.clock.now());
            let overlay = world.shape.overlay("production");
            match world.repo.set_overlay_images_on("main", &tip, &overlay, images, &message, &bot) {
                Ok(_) => return self.finish(NAME),
                Err(error) if error.is_conflict() => {}
                Err(_) => break,
            }
        }
        self.end(NAME, "failure")?;
        Err(End::Failed)
    }
}

fn new_job(id: i64, name: &str, now: Timestamp) -> Job {
    Job {
        id,
        attempt: 1,
        name: name.to_owned(),
        status: "queued".into(),
        conclusion: None,
        created: now,
        started: None,
        completed: None,
    }
}

const fn mins(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::github::testing;

    /// Tags the candidate, tells the hub, and waits for the run's end.
    async fn release(world: &Arc<World>) -> Run {
        let tagger = git::author("dana-dev", world.clock.now());
        let name = "release/v1.2.0";
        world.repo.create_tag(name, &world.past.candidate.commit, "Release v1.2.0", &tagger).unwrap();
        let new = Some(world.repo.tag(name).unwrap().sha);
        world.hub.on_push(world, &[git::RefChange { name: format!("refs/tags/{name}"), old: None, new }]);
        let mut changed = world.hub.changed();
        loop {
            let run = world.hub.read(|state| state.runs.last().cloned()).unwrap();
            if run.is_over() {
                return run;
            }
            changed.changed().await.unwrap();
        }
    }

    fn conclusion<'a>(run: &'a Run, name: &str) -> Option<&'a str> {
        run.latest_jobs().into_iter().find(|job| job.name == name)?.conclusion.as_deref()
    }

    fn production_image(world: &World, service: &str) -> ImageRef {
        let main = world.repo.head("main").unwrap();
        let objects = world.repo.render(&main, &world.shape.overlay("production")).unwrap();
        let named = |object: &&serde_json::Value| {
            object["kind"] == "Deployment" && object["metadata"]["name"] == world.shape.object(service)
        };
        let object = objects.iter().find(named).unwrap();
        object["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().parse().unwrap()
    }

    #[tokio::test]
    async fn a_clean_run_deploys_the_soaked_bytes() {
        let (_dir, world) = testing::world("{git_race: true}");
        let before = world.repo.head("main").unwrap();
        let run = release(&world).await;
        assert_eq!(run.conclusion.as_deref(), Some("success"));
        assert_eq!(
            (run.number, run.head.as_str(), run.sha == world.past.candidate.commit),
            (4, "release/v1.2.0", true)
        );
        let image = production_image(&world, "study");
        assert_eq!(
            (image.tag.as_deref(), image.digest.as_ref()),
            (Some("v1.2.0"), world.past.candidate.images.get("study"))
        );
        let log = world.repo.log(&world.repo.head("main").unwrap(), Some(&before), 10);
        assert_eq!(log.len(), 2, "somebody else's commit, then the rebased overlay commit");
        assert_eq!(log[0].message.trim_end(), "chore(release): production v1.2.0");
        let waited = run.approvals.first().unwrap();
        assert!(waited.approved);
        assert!(run.updated.duration_since(run.created) >= SignedDuration::from_mins(17));
    }

    #[tokio::test]
    async fn faults_end_as_the_scenario_says() {
        for (knobs, expected, job, ends) in [
            ("{workflow: {fails: build (search)}}", "failure", "build (search)", "failure"),
            ("{workflow: {fails: regression}}", "failure", "update-overlay", "skipped"),
            ("{approval: {answer: reject}}", "failure", "approve", "failure"),
            ("{approval: {answer: never}}", "failure", "build", "skipped"),
            ("{approval: {rule: false}}", "success", "approve", "success"),
        ] {
            let (_dir, world) = testing::world(knobs);
            let before = world.repo.head("main");
            let run = release(&world).await;
            assert_eq!(run.conclusion.as_deref(), Some(expected), "{knobs}");
            assert_eq!(conclusion(&run, job), Some(ends), "{knobs}");
            assert_eq!(world.repo.head("main") == before, expected == "failure", "{knobs}");
        }
    }

    #[tokio::test]
    async fn a_failed_job_can_be_run_again() {
        let (_dir, world) = testing::world("{workflow: {fails: build (search)}}");
        let run = release(&world).await;
        assert!(rerun(&world, run.id, true));
        let mut changed = world.hub.changed();
        while !world.hub.read(|state| state.run(run.id).unwrap().is_over()) {
            changed.changed().await.unwrap();
        }
        let run = world.hub.read(|state| state.run(run.id).cloned()).unwrap();
        assert_eq!((run.attempt, run.conclusion.as_deref()), (2, Some("success")));
        assert_eq!(run.approvals.len(), 1, "nobody is asked twice");
        assert_eq!(production_image(&world, "search").digest.as_ref(), world.past.candidate.images.get("search"));
    }

    #[tokio::test]
    async fn lost_and_rebuilt_images() {
        let (_dir, world) = testing::world("{workflow: {loses_image: study}}");
        assert_eq!(release(&world).await.conclusion.as_deref(), Some("success"));
        assert_eq!(world.registry.resolve(&production_image(&world, "study")), None);
        assert!(world.registry.resolve(&production_image(&world, "auth")).is_some());
        let (_dir, world) = testing::world("{rebuild: true}");
        release(&world).await;
        let image = production_image(&world, "auth");
        assert_ne!(image.digest.as_ref(), world.past.candidate.images.get("auth"));
        assert!(world.registry.resolve(&image).is_some());
    }
}
