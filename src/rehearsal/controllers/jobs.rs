//! Jobs, CronJobs, and the one command that a Job's container really runs: `curl`.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::cron::Schedule;
use super::events::{Happened, record};
use super::memory::Memory;
use super::object::{
    Condition, condition_is_true, created, is_owned_by, is_terminating, later, name, namespace, number,
    owner_reference, seconds, set_condition, set_count, stamp, text, time, uid,
};
use super::replicaset::{pod, terminate};
use crate::rehearsal::World;

/// Where a Job's pod keeps what its request answered, and how `curl` would have ended.
pub const OUTPUT: &str = "rehearsal.gospel-release.dev/output";
pub const EXIT_CODE: &str = "rehearsal.gospel-release.dev/exit-code";

pub fn reconcile(world: &World, memory: &mut Memory, now: Timestamp) {
    for cron in world.kube.list("cronjobs", None) {
        schedule(world, memory, &cron, now);
    }
    for job in world.kube.list("jobs", None) {
        if is_terminating(&job) {
            continue;
        }
        if job["spec"]["selector"].is_object() {
            one(world, memory, &job, now);
        } else {
            // Its turn comes again at once: it has changed.
            identify(world, &job);
        }
    }
}

/// What the API server adds to a Job: the selector of its pods, and their labels.
fn identify(world: &World, job: &Value) {
    let labels = json!({
        "batch.kubernetes.io/controller-uid": uid(job),
        "batch.kubernetes.io/job-name": name(job),
        "controller-uid": uid(job),
        "job-name": name(job),
    });
    let _ = world.kube.modify("jobs", namespace(job), name(job), |job| {
        let own = &labels["batch.kubernetes.io/controller-uid"];
        job["spec"]["selector"] = json!({ "matchLabels": { "batch.kubernetes.io/controller-uid": own } });
        let template = &mut job["spec"]["template"]["metadata"]["labels"];
        if !template.is_object() {
            *template = json!({});
        }
        for (key, value) in labels.as_object().into_iter().flatten() {
            template[key] = value.clone();
        }
    });
}

fn is_finished(job: &Value) -> bool {
    condition_is_true(job, "Complete") || condition_is_true(job, "Failed")
}

fn one(world: &World, memory: &mut Memory, job: &Value, now: Timestamp) {
    if is_finished(job) {
        return remove_when_old(world, memory, job, now);
    }
    let mut status = job.clone();
    if !status["status"].is_object() {
        status["status"] = json!({});
    }
    if text(&status, "/status/startTime").is_empty() {
        status["status"]["startTime"] = json!(stamp(now));
    }
    let pods: Vec<_> =
        world.kube.list("pods", Some(namespace(job))).into_iter().filter(|pod| is_owned_by(pod, job)).collect();
    let in_phase = |phase: &str| pods.iter().filter(|pod| text(pod, "/status/phase") == phase).count();
    let (succeeded, failed) = (in_phase("Succeeded"), in_phase("Failed"));
    let mut active = pods.len() - succeeded - failed;
    let wanted = usize::try_from(number(job, "/spec/completions").unwrap_or(1)).unwrap_or(1);
    let limit = number(job, "/spec/backoffLimit").unwrap_or(6);
    let failures = i64::try_from(failed).unwrap_or(i64::MAX);
    let started = time(&status, "/status/startTime").unwrap_or(now);
    let deadline = number(job, "/spec/activeDeadlineSeconds").map(|limit| later(started, seconds(limit)));
    if succeeded >= wanted {
        status["status"]["completionTime"] = json!(stamp(now));
        end(world, &mut status, "Complete", "CompletionsReached", "Reached expected number of succeeded pods", now);
    } else if deadline.is_some_and(|deadline| deadline <= now) {
        pods.iter().filter(|pod| !is_terminating(pod)).for_each(|pod| terminate(world, pod, now));
        active = 0;
        end(world, &mut status, "Failed", "DeadlineExceeded", "Job was active longer than specified deadline", now);
    } else if failures > limit {
        let message = "Job has reached the specified backoff limit";
        end(world, &mut status, "Failed", "BackoffLimitExceeded", message, now);
    } else if active == 0 && job["spec"]["suspend"] != json!(true) {
        if let Some(due) = retry_at(&pods, failures).filter(|due| *due > now) {
            memory.wake(due);
        } else {
            start_pod(world, memory, job, now);
            active = 1;
        }
    }
    if let Some(deadline) = deadline.filter(|deadline| *deadline > now) {
        memory.wake(deadline);
    }
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    set_count(&mut status["status"], "active", count(active));
    set_count(&mut status["status"], "succeeded", count(succeeded));
    set_count(&mut status["status"], "failed", failures);
    status["status"]["ready"] = json!(0);
    status["status"]["terminating"] = json!(0);
    status["status"]["uncountedTerminatedPods"] = json!({});
    if status["status"] != job["status"] {
        let status = status["status"].take();
        let _ = world.kube.modify("jobs", namespace(job), name(job), |job| job["status"] = status);
    }
}

fn end(world: &World, job: &mut Value, kind: &str, reason: &str, message: &str, now: Timestamp) {
    let ending = if kind == "Complete" { "SuccessCriteriaMet" } else { "FailureTarget" };
    for kind in [ending, kind] {
        set_condition(job, &Condition { kind, status: true, reason, message: message.into() }, now, false);
    }
    let happened = if kind == "Complete" {
        Happened::normal("job-controller", "Completed", "Job completed")
    } else {
        Happened::warning("job-controller", reason, message)
    };
    record(world, job, &happened, now);
}

/// 10, 20, 40 … s after the last failure, at most 6 minutes.
fn retry_at(pods: &[std::sync::Arc<Value>], failures: i64) -> Option<Timestamp> {
    let ended = |pod: &Value| time(pod, "/status/containerStatuses/0/state/terminated/finishedAt");
    let last = pods.iter().filter_map(|pod| ended(pod)).max()?;
    let wait = 10_i64.saturating_mul(1 << (failures - 1).clamp(0, 6)).min(360);
    (failures > 0).then(|| later(last, seconds(wait)))
}

fn start_pod(world: &World, memory: &mut Memory, job: &Value, now: Timestamp) {
    let pod_name = memory.pod_name(world.seed, job);
    let pod = pod(job, &pod_name, now);
    if world.kube.create("pods", pod).is_ok() {
        let message = format!("Created pod: {pod_name}");
        record(world, job, &Happened::normal("job-controller", "SuccessfulCreate", message), now);
    }
}

fn remove_when_old(world: &World, memory: &mut Memory, job: &Value, now: Timestamp) {
    let Some(keep) = number(job, "/spec/ttlSecondsAfterFinished") else { return };
    let ended = super::object::condition(job, "Complete").or_else(|| super::object::condition(job, "Failed"));
    let Some(ended) = ended.and_then(|condition| time(condition, "/lastTransitionTime")) else { return };
    let due = later(ended, seconds(keep));
    if due > now {
        memory.wake(due);
    } else {
        let _ = world.kube.delete("jobs", namespace(job), name(job));
    }
}

/// Makes the Job of a CronJob's time, once; times that nobody saw (before the story) are not made up for.
fn schedule(world: &World, memory: &mut Memory, cron: &Value, now: Timestamp) {
    if cron["spec"]["suspend"] == json!(true) {
        return;
    }
    let Some(schedule) = Schedule::parse(text(cron, "/spec/schedule")) else { return };
    let last = time(cron, "/status/lastScheduleTime").or_else(|| created(cron)).unwrap_or(now);
    let Some(due) = schedule.after(last) else { return };
    if due > now {
        return memory.wake(due);
    }
    // The latest of the times that passed; a fast world may skip several.
    let due = std::iter::successors(Some(due), |at| schedule.after(*at)).take_while(|at| *at <= now).take(500).last();
    let due = due.unwrap_or(now);
    let job_name = format!("{}-{}", name(cron), due.as_second() / 60);
    let mut metadata = cron["spec"]["jobTemplate"]["metadata"].clone();
    if !metadata.is_object() {
        metadata = json!({});
    }
    metadata["name"] = json!(job_name);
    metadata["namespace"] = json!(namespace(cron));
    metadata["ownerReferences"] = json!([owner_reference(cron)]);
    metadata["creationTimestamp"] = json!(stamp(now));
    let job = json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": metadata,
        "spec": cron["spec"]["jobTemplate"]["spec"] });
    if world.kube.create("jobs", job).is_ok() {
        let message = format!("Created job {job_name}");
        record(world, cron, &Happened::normal("cronjob-controller", "SuccessfulCreate", message), now);
    }
    let _ = world.kube.modify("cronjobs", namespace(cron), name(cron), |cron| {
        cron["status"]["lastScheduleTime"] = json!(stamp(due));
        cron["status"]["lastSuccessfulTime"] = json!(stamp(now));
    });
    forget_oldest(world, cron);
}

fn forget_oldest(world: &World, cron: &Value) {
    for (kind, limit, default) in
        [("Complete", "/spec/successfulJobsHistoryLimit", 3), ("Failed", "/spec/failedJobsHistoryLimit", 1)]
    {
        let keep = usize::try_from(number(cron, limit).unwrap_or(default)).unwrap_or_default();
        let jobs = world.kube.list("jobs", Some(namespace(cron)));
        let mut ended: Vec<_> =
            jobs.iter().filter(|job| is_owned_by(job, cron) && condition_is_true(job, kind)).collect();
        ended.sort_by_key(|job| created(job));
        for job in ended.iter().take(ended.len().saturating_sub(keep)) {
            let _ = world.kube.delete("jobs", namespace(job), name(job));
        }
    }
}

/// The request that a Job's container makes with `curl`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Curl {
    pub method: String,
    pub url: String,
    /// `-f`: an answer of 400 or more ends with 22.
    pub fail: bool,
    /// `-o`: the body is not printed.
    pub silent_body: bool,
    /// `-i`: the head is printed.
    pub head: bool,
    /// `-w`.
    pub write_out: Option<String>,
    pub body: Option<String>,
}

/// Reads a container's command, also where it is the script of a shell.
pub fn request_of(pod: &Value) -> Option<Curl> {
    let container = pod.pointer("/spec/containers/0")?;
    let part = |key: &str| container[key].as_array().cloned().unwrap_or_default();
    let words = part("command").into_iter().chain(part("args"));
    let mut words: Vec<String> = words.filter_map(|word| word.as_str().map(str::to_owned)).collect();
    if let Some(script) = words.iter().find(|word| word.trim_start().starts_with("curl ")) {
        words = split(script);
    } else if words.first().is_some_and(|word| word.starts_with('-') || word.starts_with("http"))
        && text(container, "/image").contains("curl")
    {
        // The image's entry point is curl itself.
        words.insert(0, "curl".into());
    }
    let program = words.iter().position(|word| word == "curl" || word.ends_with("/curl"))?;
    curl(&words[program + 1..])
}

fn curl(words: &[String]) -> Option<Curl> {
    let mut found = Curl {
        method: "GET".into(),
        url: String::new(),
        fail: false,
        silent_body: false,
        head: false,
        write_out: None,
        body: None,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-X" | "--request" => found.method.clone_from(words.next()?),
            "-w" | "--write-out" => found.write_out = Some(words.next()?.replace("\\n", "\n")),
            "-o" | "--output" => {
                words.next();
                found.silent_body = true;
            }
            "-d" | "--data" | "--data-urlencode" => {
                found.body = Some(words.next()?.clone());
                found.method = "POST".into();
            }
            "-m" | "--max-time" | "--connect-timeout" | "--retry" | "-H" | "--header" | "--retry-delay" => {
                words.next();
            }
            "--fail" | "--fail-with-body" => found.fail = true,
            "-I" | "--head" => {
                found.method = "HEAD".into();
                found.head = true;
            }
            "--include" => found.head = true,
            flags if flags.starts_with('-') && !flags.starts_with("--") => {
                found.fail |= flags.contains('f');
                found.head |= flags.contains('i');
            }
            url if !url.starts_with('-') && found.url.is_empty() => url.clone_into(&mut found.url),
            _ => {}
        }
    }
    (!found.url.is_empty()).then_some(found)
}

/// Words of a shell script, as far as quotes go; its first command only.
fn split(script: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut open) = (Vec::new(), String::new(), None, false);
    for c in script.trim().chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '\'' | '"') => (quote, open) = (Some(c), true),
            (None, ';' | '|' | '&' | '\n') => break,
            (None, c) if c.is_whitespace() => {
                if open || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                open = false;
            }
            (_, c) => word.push(c),
        }
    }
    if open || !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_curls_is_understood() {
        let pod = |container: Value| json!({ "spec": { "containers": [container] } });
        let url = "http://gospelib-gateway.gospelib-staging.svc:80/ready";
        let plain = pod(json!({ "image": "curlimages/curl:8.12.1", "args": ["-sS", "--max-time", "5", url] }));
        assert_eq!(request_of(&plain).unwrap().url, url);
        let script = format!("curl -fsS -w '\\n%{{http_code}}' \"{url}\" || exit 1");
        let shell = request_of(&pod(json!({ "command": ["sh", "-c", script] }))).unwrap();
        assert_eq!((shell.url.as_str(), shell.fail, shell.write_out.as_deref()), (url, true, Some("\n%{http_code}")));
        assert_eq!(request_of(&pod(json!({ "command": ["/bin/ingest", "--incremental"] }))), None);
    }
}
