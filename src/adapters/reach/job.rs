//! From inside the cluster: a short Job runs curl, and its log is the answer.

use std::time::Duration;

use super::answer::HttpAnswer;
use super::route::{Ask, FORM, Place};
use crate::adapters::cluster::{Cluster, JobOutcome, JobSpec, Jobs};
use crate::error::{Class, Error, Result};

/// How long a Job may take to be scheduled and its image to be pulled (wall time).
pub(super) const PATIENCE: Duration = Duration::from_mins(1);
/// When the cluster ends, and then deletes, a Job that we were killed before deleting. curl ends by itself. Generous, because
/// the cluster counts it by its own clock, and a rehearsed one runs fast.
pub(super) const LEFT_BEHIND: Duration = Duration::from_hours(24);
/// What curl writes after the body.
const MARK: &str = "gospel-release-answer:";

pub(super) async fn ask(cluster: &Cluster, place: &Place, image: &str, ask: &Ask) -> Result<HttpAnswer> {
    let jobs = Jobs::new(cluster, &place.namespace);
    let spec = JobSpec {
        name: format!("gospel-release-ask-{:012x}", fastrand::u64(..) & 0xffff_ffff_ffff),
        labels: [("app.kubernetes.io/managed-by".to_owned(), "gospel-release".to_owned())].into(),
        image: image.to_owned(),
        command: command(place, ask),
        deadline: LEFT_BEHIND,
        kept_for: LEFT_BEHIND,
    };
    jobs.create(&spec).await?;
    let answer = answer(&jobs, &spec.name, ask).await;
    // Its ttl deletes it too, should this fail; that is no reason to lose the answer.
    if let Err(error) = jobs.delete(&spec.name).await {
        tracing::debug!(job = spec.name, ?error, "the job is left to its ttl");
    }
    answer
}

async fn answer(jobs: &Jobs, name: &str, ask: &Ask) -> Result<HttpAnswer> {
    let outcome = jobs.wait(name, PATIENCE + ask.timeout).await?;
    let lines = jobs.log(name, 20_000).await?;
    if let Some(answer) = parse(&lines, ask.limit) {
        return Ok(answer);
    }
    let failed = match outcome {
        JobOutcome::Succeeded => Error::outside(format!("job {name} ended without an answer")),
        JobOutcome::Failed { reason, message } => {
            Error::outside(format!("job {name} failed")).because(format!("{reason}: {message}"))
        }
    };
    let last = &lines[lines.len().saturating_sub(3)..];
    Err(last.iter().fold(failed.class(Class::Transient { retry_after: None }), Error::seen))
}

fn command(place: &Place, ask: &Ask) -> Vec<String> {
    let Place { namespace, service, port } = place;
    let seconds = ask.timeout.as_secs_f64().max(0.1);
    let mut command: Vec<String> = ["curl", "-sS", "--max-time"].map(Into::into).into();
    command.extend([format!("{seconds:.1}"), "-w".into(), format!("\n{MARK} %{{http_code}} %{{time_total}}\n")]);
    // An encoded form never begins with the @ that would make curl read a file.
    if let Some(form) = &ask.form {
        command.extend(["-H".into(), format!("content-type: {FORM}"), "--data".into(), form.clone()]);
    }
    command.push(format!("http://{service}.{namespace}.svc:{port}{}", ask.path));
    command
}

/// Body, status and time from the log; `None` when curl did not get an answer (it then writes status 000).
fn parse(lines: &[String], limit: usize) -> Option<HttpAnswer> {
    let at = lines.iter().rposition(|line| line.starts_with(MARK))?;
    let mut fields = lines[at][MARK.len()..].split_whitespace();
    let status: u16 = fields.next()?.parse().ok().filter(|status| *status != 0)?;
    let seconds: f64 = fields.next()?.parse().ok()?;
    let mut body = lines[..at].join("\n").into_bytes();
    let truncated = body.len() > limit;
    body.truncate(limit);
    Some(HttpAnswer { status, body, truncated, elapsed: Duration::try_from_secs_f64(seconds).unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(ToOwned::to_owned).collect()
    }

    #[test]
    fn the_log_is_the_answer() {
        let answer = parse(&lines("{\n \"status\": \"ok\"}\ngospel-release-answer: 200 0.012345\n"), 1024).unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "{\n \"status\": \"ok\"}"));
        assert_eq!(answer.elapsed, Duration::from_micros(12_345));
        assert!(parse(&lines("curl: (7) Failed to connect\ngospel-release-answer: 000 0.001"), 1024).is_none());
        assert!(parse(&[], 1024).is_none());
    }

    #[test]
    fn curl_is_given_arguments_never_a_shell_line() {
        let place = Place { namespace: "ns".into(), service: "prometheus".into(), port: 9090 };
        let ask = Ask {
            path: "/api/v1/query".into(),
            form: Some("query=up".into()),
            limit: 9,
            timeout: Duration::from_secs(5),
        };
        let command = command(&place, &ask);
        assert_eq!(command.first().unwrap(), "curl");
        assert_eq!(command.last().unwrap(), "http://prometheus.ns.svc:9090/api/v1/query");
        assert!(command.contains(&"query=up".to_owned()));
    }
}
