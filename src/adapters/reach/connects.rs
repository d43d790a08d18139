//! Whether something inside the network accepts connections: a short Job in the cluster runs curl, and its log is the answer.

use std::time::Duration;

use super::job::{LEFT_BEHIND, PATIENCE};
use crate::adapters::cluster::{Cluster, JobSpec, Jobs};
use crate::error::{Error, Result};

/// How long a connection may take (seconds).
const CONNECT: u64 = 5;
/// What curl writes at its end.
const MARK: &str = "gospel-release-connected:";

/// How long a host took to accept a TCP connection from inside the cluster; nothing is sent.
///
/// # Errors
/// It does not; or the Job could not be run.
pub async fn connects(cluster: &Cluster, namespace: &str, image: &str, host: &str, port: u16) -> Result<Duration> {
    let jobs = Jobs::new(cluster, namespace);
    let spec = JobSpec {
        name: format!("gospel-release-connect-{:012x}", fastrand::u64(..) & 0xffff_ffff_ffff),
        labels: [("app.kubernetes.io/managed-by".to_owned(), "gospel-release".to_owned())].into(),
        image: image.to_owned(),
        command: command(host, port),
        deadline: LEFT_BEHIND,
        kept_for: LEFT_BEHIND,
    };
    jobs.create(&spec).await?;
    let log = async {
        // However it ended: curl waits on an open connection until its time is over, and calls that an error.
        jobs.wait(&spec.name, PATIENCE + Duration::from_secs(CONNECT + 1)).await?;
        jobs.log(&spec.name, 20).await
    };
    let log = log.await;
    if let Err(error) = jobs.delete(&spec.name).await {
        tracing::debug!(job = spec.name, ?error, "the job is left to its ttl");
    }
    let lines = log?;
    connected(&lines).ok_or_else(|| {
        let said = lines.iter().filter(|line| !line.trim().is_empty() && !line.contains(MARK)).cloned();
        said.fold(Error::outside(format!("{host}:{port} takes no connection from the cluster")), Error::seen)
    })
}

/// curl's telnet sends nothing by itself; it is closed a second after it could have connected.
fn command(host: &str, port: u16) -> Vec<String> {
    let (connect, most) = (CONNECT.to_string(), (CONNECT + 1).to_string());
    let words = ["curl", "-sS", "--connect-timeout", &connect, "--max-time", &most, "-w"];
    let mut command: Vec<String> = words.map(str::to_owned).into();
    command.extend([format!("\n{MARK} %{{time_connect}}\n"), format!("telnet://{host}:{port}")]);
    command
}

/// The time that connecting took; curl writes 0 where it did not.
fn connected(lines: &[String]) -> Option<Duration> {
    let line = lines.iter().rev().find_map(|line| line.strip_prefix(MARK))?;
    let seconds: f64 = line.trim().parse().ok().filter(|seconds| *seconds > 0.0)?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn what_curl_wrote_is_the_answer() {
        let open = lines("\ngospel-release-connected: 0.000149\ncurl: (28) Time-out");
        assert_eq!(connected(&open), Some(Duration::from_micros(149)));
        assert_eq!(connected(&lines("curl: (6) Could not resolve host: x\ngospel-release-connected: 0.000000")), None);
        assert_eq!(connected(&[]), None);
        assert_eq!(command("db.example", 5432).last().unwrap(), "telnet://db.example:5432");
    }
}
