//! `monitor`: production as it is: pods, health, restarts, errors and latency against their limits.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::json;

use crate::adapters::cluster::{PodState, Workloads};
use crate::cli::monitor::Monitor as Args;
use crate::config::Config;
use crate::domain::{ServiceName, duration, printable};
use crate::engine::{Event, SeenEvent};
use crate::error::{Error, Kind, Result};
use crate::monitor::endpoints::{EndpointLook, Endpoints};
use crate::monitor::metrics::Metrics;
use crate::monitor::pods::{of_services, restarted};
use crate::monitor::sli::{Judgement, Limits, Look, Sli, Streak, millis, percent};
use crate::ui::{self, out::Out};

use super::Invocation;
use super::connect::production;

/// How far back one look at the metrics goes.
const WINDOW: Duration = Duration::from_secs(300);

/// One look at production.
struct Seen {
    pods: Vec<PodState>,
    health: Vec<EndpointLook>,
    metrics: Look,
}

/// Looks once, or again and again for a time. Ends 16 when production is outside its limits.
pub async fn monitor(invocation: &mut Invocation, args: &Args, out: &mut Out, json: bool) -> Result<u8> {
    let config = invocation.config.clone();
    let (place, namespace) = production(invocation).await?;
    let cluster = place.cluster;
    let workloads = Workloads::new(&cluster, &namespace);
    let endpoints = Endpoints::new(&config, &config.production, &cluster)?;
    let metrics = Metrics::new(&config, &config.production, &cluster)?;
    let limits = Limits { error_ratio: config.watch.error_ratio, p95: config.watch.p95_seconds };
    let since = invocation.clock.now();
    let lasts = if args.once { Duration::ZERO } else { args.lasts.unwrap_or(config.watch.lasts) };
    let until = since.checked_add(lasts).unwrap_or(since);
    // One look decides alone when there is only one.
    let bad_looks = if args.once { 1 } else { config.watch.bad_looks };
    let mut streak = Streak::default();
    let mut short: BTreeMap<ServiceName, u32> = BTreeMap::new();
    let mut before = None;
    loop {
        let now = invocation.clock.now();
        let (pods, health, look) = futures::join!(workloads.pods(None), endpoints.look(), metrics.look(WINDOW, now));
        let seen = Seen { pods: of_services(&config, pods?), health, metrics: look? };
        let before = before.get_or_insert_with(|| older_restarts(&seen.pods, now));
        let mut wrong = pods_short(&config, &seen.pods, &mut short, bad_looks);
        wrong.extend(judge(&config, &seen, before, &mut streak, limits, bad_looks));
        let figures = figures(&config, &seen, before, limits);
        let over = now >= until || !wrong.is_empty();
        let end = if over { outside(&wrong).and_then(|()| known(&seen)) } else { Ok(()) };
        if json {
            let mut document = document(&config, &seen, &figures, limits, &wrong);
            if args.once {
                // One document: it says itself how it ends.
                let error = end.as_ref().err().map(|error| ui::error::json(error)["error"].clone());
                document["error"] = json!(error);
                out.json(&document)?;
            } else {
                out.json_line(&document)?;
            }
        } else {
            table(&config, &figures, limits, out)?;
        }
        end?;
        if over {
            return Ok(0);
        }
        let note = seen.metrics.summary().unwrap_or_else(|| "no data".to_owned());
        let waiting = SeenEvent::Waiting { id: "monitor", note, since, until: Some(until) };
        invocation.listener.hear(&Event::Seen(waiting), None);
        let pause = invocation.clock.to_wall(config.watch.every).max(Duration::from_millis(100));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = invocation.cancel.cancelled() => {
                return Err(Error::new(Kind::Interrupted, "stopped watching as asked; monitoring changes nothing"));
            }
        }
    }
}

/// Restarts that were over before we looked: of pods that have not restarted lately.
fn older_restarts(pods: &[PodState], now: Timestamp) -> BTreeMap<String, u32> {
    let from = now.checked_sub(SignedDuration::try_from(WINDOW).unwrap_or_default()).unwrap_or(now);
    let lately = |pod: &PodState| pod.last_terminated().is_some_and(|(_, end)| end.at.is_none_or(|at| at >= from));
    pods.iter().filter(|pod| !lately(pod)).map(|pod| (pod.name.clone(), pod.restarts())).collect()
}

/// Services with fewer ready pods than they must have: none at all is wrong at once, too few in `bad_looks` looks in a row.
fn pods_short(
    config: &Config,
    pods: &[PodState],
    short: &mut BTreeMap<ServiceName, u32>,
    bad_looks: u32,
) -> Vec<String> {
    let wanted = config.production.replicas as usize;
    let mut wrong = Vec::new();
    for service in &config.services {
        let (ready, ..) = counts(config, service, pods);
        if ready >= wanted {
            short.remove(&service.name);
            continue;
        }
        let looks = short.entry(service.name.clone()).or_default();
        *looks += 1;
        if ready == 0 || *looks >= bad_looks {
            wrong.push(format!("{} has {ready} of {wanted} pods ready", service.name));
        }
    }
    wrong
}

/// What is wrong, as the end that it is.
fn outside(wrong: &[String]) -> Result<()> {
    let Some((first, others)) = wrong.split_first() else { return Ok(()) };
    let error = Error::new(Kind::Regression, format!("production is outside its limits: {first}"));
    let error = others.iter().fold(error, |error, line| error.seen(line.clone()));
    Err(error.hint("to go back to the last good release: gospel-release rollback"))
}

/// What could not be looked at is not well: an end without an answer is none.
fn known(seen: &Seen) -> Result<()> {
    let unanswered: Vec<String> = seen
        .health
        .iter()
        .filter(|look| look.unanswered)
        .map(|look| format!("{} {}", look.service, look.path))
        .collect();
    if !unanswered.is_empty() {
        let error = Error::outside("production could not be looked at whole: its health is not known");
        return Err(unanswered
            .into_iter()
            .fold(error, |error, what| error.seen(format!("{what} could not be asked")))
            .hint("to try each way in: gospel-release doctor"));
    }
    if seen.metrics.services.values().any(Sli::has_data) {
        return Ok(());
    }
    Err(Error::outside("production's errors and latency are not known: no service has metrics")
        .hint("check production.prometheus; gospel-release doctor asks it"))
}

fn judge(
    config: &Config,
    seen: &Seen,
    before: &BTreeMap<String, u32>,
    streak: &mut Streak,
    limits: Limits,
    bad_looks: u32,
) -> Vec<String> {
    let mut wrong: Vec<String> = seen
        .health
        .iter()
        .filter(|look| !look.ok && !look.unanswered)
        .map(|look| format!("{} {} answers {}", look.service, look.path, look.said))
        .collect();
    wrong.extend(restarted(&seen.pods, config.watch.restarts, before).into_iter().map(|pod| pod.said));
    if let Judgement::Regression { findings } = streak.judge(&seen.metrics, limits, bad_looks) {
        wrong.extend(findings.into_iter().map(|finding| finding.said));
    }
    wrong
}

/// One service in one look.
struct Figures<'a> {
    service: &'a ServiceName,
    ready: usize,
    pods: usize,
    restarts: u32,
    health: Vec<&'a EndpointLook>,
    sli: Sli,
    holds: Holds,
}

/// Whether each figure of this look is within its limit; `None` where there is none to compare. A look with red health, restarts
/// or no pod decides by itself; of the others `watch.bad_looks` in a row do.
#[derive(Debug, Serialize)]
struct Holds {
    pods: Option<bool>,
    restarts: Option<bool>,
    health: Option<bool>,
    errors: Option<bool>,
    p95: Option<bool>,
}

impl Holds {
    /// `yes`; what does not hold; or else what is not known.
    fn said(&self) -> String {
        let all = [
            ("pods", self.pods),
            ("restarts", self.restarts),
            ("health", self.health),
            ("errors", self.errors),
            ("p95", self.p95),
        ];
        let that = |wanted| {
            let names: Vec<&str> = all.iter().filter(|(_, holds)| *holds == wanted).map(|(name, _)| *name).collect();
            names.join(", ")
        };
        match (that(Some(false)), that(None)) {
            (wrong, _) if !wrong.is_empty() => format!("NO: {wrong}"),
            (_, unknown) if !unknown.is_empty() => format!("unknown: {unknown}"),
            _ => "yes".to_owned(),
        }
    }
}

fn figures<'a>(config: &'a Config, seen: &'a Seen, before: &BTreeMap<String, u32>, limits: Limits) -> Vec<Figures<'a>> {
    let restarted = restarted(&seen.pods, config.watch.restarts, before);
    let services = config.services.iter().map(|service| {
        let (ready, pods, restarts) = counts(config, service, &seen.pods);
        let health: Vec<&EndpointLook> = seen.health.iter().filter(|look| look.service == service.name).collect();
        let sli = seen.metrics.services.get(&service.name).copied().unwrap_or_default();
        let name = config.deployment_of(service);
        let ours = |pod: &str| seen.pods.iter().any(|one| one.name == pod && one.app() == Some(name.as_str()));
        let red = health.iter().any(|look| !look.ok && !look.unanswered);
        let holds = Holds {
            pods: Some(ready >= config.production.replicas as usize),
            restarts: Some(!restarted.iter().any(|one| ours(&one.pod))),
            health: if red { Some(false) } else { health.iter().all(|look| look.ok).then_some(true) },
            errors: sli.error_ratio.map(|ratio| ratio <= limits.error_ratio),
            p95: sli.p95.map(|p95| p95 <= limits.p95),
        };
        Figures { service: &service.name, ready, pods, restarts, health, sli, holds }
    });
    services.collect()
}

/// The limits, and a line a service: pods, restarts, health, errors, latency, and whether all of it holds.
fn table(config: &Config, figures: &[Figures<'_>], limits: Limits, out: &mut Out) -> Result<()> {
    let row = |cells: [&str; 7]| {
        let [service, pods, restarts, health, errors, p95, holds] = cells;
        let row = format!("{service:<14} {pods:>7} {restarts:>8}  {health:<8} {errors:>8} {p95:>8}  {holds}");
        row.trim_end().to_owned()
    };
    out.line(&row(["service", "pods", "restarts", "health", "errors", "p95", "holds"]))?;
    let pods = format!("{} ready", config.production.replicas);
    let restarts = format!("< {} new", config.watch.restarts.max(1));
    let (errors, p95) = (percent(limits.error_ratio), millis(limits.p95));
    out.line(&row(["limit", &pods, &restarts, "green", &errors, &p95, ""]))?;
    for one in figures {
        let health = match one.holds.health {
            Some(true) => "green",
            Some(false) => "RED",
            None => "unknown",
        };
        let errors = one.sli.error_ratio.map_or("no data".to_owned(), percent);
        let p95 = one.sli.p95.map_or("no data".to_owned(), millis);
        let pods = format!("{}/{}", one.ready, one.pods);
        let (restarts, holds) = (one.restarts.to_string(), one.holds.said());
        out.line(&row([one.service.as_str(), &pods, &restarts, health, &errors, &p95, &holds]))?;
        for look in one.health.iter().filter(|look| !look.ok) {
            out.line(&format!("  {} {}", look.path, printable(&look.said)))?;
        }
    }
    Ok(())
}

fn counts(config: &Config, service: &crate::config::model::Service, pods: &[PodState]) -> (usize, usize, u32) {
    let name = config.deployment_of(service);
    let ours: Vec<&PodState> = pods.iter().filter(|pod| pod.app() == Some(name.as_str()) && !pod.deleting).collect();
    (ours.iter().filter(|pod| pod.ready).count(), ours.len(), ours.iter().map(|pod| pod.restarts()).sum())
}

fn document(
    config: &Config,
    seen: &Seen,
    figures: &[Figures<'_>],
    limits: Limits,
    wrong: &[String],
) -> serde_json::Value {
    let services = figures.iter().map(|one| {
        let health: Vec<_> = one
            .health
            .iter()
            .map(|look| json!({"path": look.path, "ok": look.ok, "said": look.said, "took": duration(look.slowest)}))
            .collect();
        json!({
            "service": one.service,
            "ready": one.ready,
            "pods": one.pods,
            "restarts": one.restarts,
            "health": health,
            "sli": one.sli,
            "holds": one.holds,
        })
    });
    json!({
        "at": seen.metrics.at,
        "limits": {
            "ready": config.production.replicas,
            "new_restarts": config.watch.restarts.max(1) - 1,
            "error_ratio": limits.error_ratio,
            "p95": limits.p95,
        },
        "services": services.collect::<Vec<_>>(),
        "wrong": wrong,
    })
}
