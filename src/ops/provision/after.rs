//! What is looked at after an apply: the cluster, its nodes and add-ons, the outputs, and whether things answer.
//!
//! Nothing is changed, but for the short Jobs that ask from inside the cluster where `provision.checks.probe` names something.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::adapters::aws::{Aws, EksPart};
use crate::adapters::cluster::{Cluster, NodeState};
use crate::adapters::reach::connects;
use crate::adapters::site::site;
use crate::adapters::terraform::{Output, Terraform};
use crate::config::Config;
use crate::config::model::OutputKey;
use crate::config::patch::{Proposed, Wanted, propose, unified};
use crate::domain::{Evidence, count, printable};
use crate::engine::{Act, BoxFuture, Done, Effect, Facts, Probe, Step, StepIo};
use crate::error::{Error, Kind, Result, chain};
use crate::ops::Invocation;
use crate::ui::style::{Style, Tone};

use super::block::Block;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    pub about: String,
    pub found: Found,
    pub said: String,
}

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Found {
    Right,
    Wrong,
    /// Nobody said what it should be. That is no pass.
    NotChecked,
}

/// Everything that was looked at.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Checks {
    pub all: Vec<Check>,
    /// A change of the configuration that the outputs suggest, as a unified diff; empty where there is none.
    pub patch: String,
    /// What that diff cannot show: `key: value`.
    pub by_hand: Vec<String>,
}

fn check(about: impl Into<String>, found: Found, said: impl Into<String>) -> Check {
    Check { about: about.into(), found, said: said.into() }
}

fn right(about: impl Into<String>, said: impl Into<String>) -> Check {
    check(about, Found::Right, said)
}

fn wrong(about: impl Into<String>, said: impl Into<String>) -> Check {
    check(about, Found::Wrong, said)
}

fn failed(about: impl Into<String>, error: &Error) -> Check {
    let next = error.hints().first().map_or(String::new(), |hint| format!("; next: {hint}"));
    wrong(about, chain(error) + &next)
}

fn not_checked(about: impl Into<String>, why: impl Into<String>) -> Check {
    check(about, Found::NotChecked, why)
}

/// What is looked at, and how it is reached.
pub(super) struct AfterApply {
    config: Config,
    /// The configuration file, which a change is proposed of.
    file: Option<PathBuf>,
    terraform: Terraform,
    /// Whether Jobs may be made.
    probe: bool,
}

impl AfterApply {
    pub fn new(invocation: &Invocation, terraform: Terraform) -> Self {
        let probe = !invocation.dry_run;
        Self { config: invocation.config.clone(), file: invocation.file.clone(), terraform, probe }
    }

    /// Looks at everything; what cannot be asked is wrong, what nobody configured is not checked.
    ///
    /// # Errors
    /// Another account than the pinned one.
    pub async fn look(&self) -> Result<Checks> {
        look(&self.config, self.file.as_deref(), &self.terraform, self.probe).await
    }
}

impl Step for AfterApply {
    fn id(&self) -> &'static str {
        "checks"
    }

    fn title(&self, _facts: &Facts) -> String {
        "Look at what the apply left".to_owned()
    }

    /// A probe inside the cluster is a Job: that is no look.
    fn effect(&self) -> Effect {
        Effect::Repeatable
    }

    fn deadline(&self) -> Option<Duration> {
        Some(self.config.provision.checks.within)
    }

    fn every(&self) -> Duration {
        Duration::from_secs(30)
    }

    fn probe<'a>(&'a self, _facts: &'a Facts, _io: &'a StepIo) -> BoxFuture<'a, Result<Probe>> {
        Box::pin(async move { Ok(Probe::NotYet("it is to be looked at".to_owned())) })
    }

    fn act<'a>(&'a self, _facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Act>> {
        Box::pin(async move {
            if self.config.production.cluster.eks.is_none() {
                // Whoever has not described production has nothing to compare with.
                return Ok(Act::Done(Done::said("not checked: production.cluster.eks names no cluster")));
            }
            let checks = self.look().await?;
            let wrong: Vec<&Check> = checks.wrong().collect();
            if let Some(first) = wrong.first() {
                let more = if wrong.len() > 1 { format!("; {} more", wrong.len() - 1) } else { String::new() };
                return Ok(Act::Waiting { note: format!("{}: {}{more}", first.about, first.said) });
            }
            if !checks.patch.is_empty() || !checks.by_hand.is_empty() {
                io.say("the outputs suggest a change of the configuration; to see it: gospel-release provision check");
            }
            Ok(Act::Done(Done::new(checks.evidence().at(io.now()))))
        })
    }

    fn overdue(&self, waited_for: &str) -> Error {
        Error::new(Kind::TimedOut, format!("everything was applied, and not all is as it should be: {waited_for}"))
            .hint("to see all of it: gospel-release provision check")
            .hint("to look again: gospel-release resume")
    }
}

async fn look(config: &Config, file: Option<&Path>, terraform: &Terraform, probe: bool) -> Result<Checks> {
    let aws = Aws::connect(&config.production.aws).await?;
    if config.production.aws.account.is_some() {
        aws.verified_identity().await?;
    }
    let (cluster, outputs, sites) = futures::join!(cluster(config, &aws), terraform.outputs(), sites(config));
    let (mut checks, reached) = cluster;
    let mut patch = (String::new(), Vec::new());
    match outputs {
        Ok(outputs) => {
            let (looked, wanted) = look_at_outputs(config, &outputs);
            checks.extend(looked);
            patch = proposal(file, &wanted)?;
            if probe {
                checks.extend(probes(config, reached.as_ref(), &outputs).await);
            } else {
                checks.push(not_checked("reachable from the cluster", "this is a dry run, which makes no Job"));
            }
        }
        Err(error) => checks.push(failed("outputs", &error)),
    }
    checks.extend(sites);
    Ok(Checks { all: checks, patch: patch.0, by_hand: patch.1 })
}

/// The cluster as EKS and Kubernetes see it; and the connection to it, where there is one.
async fn cluster(config: &Config, aws: &Aws) -> (Vec<Check>, Option<Cluster>) {
    let production = &config.production;
    let settings = &config.provision.checks;
    let Some(name) = &production.cluster.eks else {
        let why = "production.cluster.eks names no EKS cluster";
        return (["cluster", "nodes", "add-ons"].map(|about| not_checked(about, why)).into(), None);
    };
    let version = settings.kubernetes_version.as_deref();
    let (described, groups, addons) =
        futures::join!(aws.describe_cluster(name), aws.node_groups(name), aws.addons(name));
    let mut checks = Vec::new();
    match described {
        Ok(info) => {
            let about = format!("cluster {name}");
            checks.push(match production.cluster.arn.as_deref() {
                Some(pinned) if pinned != info.arn => {
                    wrong(&about, format!("it is {}, and {pinned} is pinned", info.arn))
                }
                _ => part(&about, &info.status, &info.version, version, &[]),
            });
        }
        Err(error) => checks.push(failed(format!("cluster {name}"), &error)),
    }
    if version.is_none() {
        let why = "provision.checks.kubernetes_version says none";
        checks.push(not_checked("Kubernetes' version", why));
    }
    checks.extend(parts("node group", groups, version));
    checks.extend(parts("add-on", addons, None));
    let reached = Cluster::connect(&production.cluster, Some(aws)).await;
    match &reached {
        Ok(cluster) => checks.push(match cluster.nodes().await {
            Ok(nodes) => ready(&nodes, settings.nodes),
            Err(error) => failed("nodes", &error),
        }),
        Err(error) => checks.push(failed("nodes", error)),
    }
    (checks, reached.ok())
}

/// Node groups or add-ons; none at all is not well.
fn parts(kind: &str, asked: Result<Vec<EksPart>>, version: Option<&str>) -> Vec<Check> {
    match asked {
        Ok(parts) if parts.is_empty() => vec![wrong(format!("{kind}s"), "there is none")],
        Ok(parts) => parts
            .iter()
            .map(|one| part(&format!("{kind} {}", one.name), &one.status, &one.version, version, &one.issues))
            .collect(),
        Err(error) => vec![failed(format!("{kind}s"), &error)],
    }
}

fn part(about: &str, status: &str, version: &str, wanted: Option<&str>, issues: &[String]) -> Check {
    let mut said = vec![format!("{status}, {version}")];
    let other = wanted.filter(|wanted| *wanted != version);
    said.extend(other.map(|wanted| format!("{wanted} is configured")));
    said.extend_from_slice(issues);
    let well = status == "ACTIVE" && other.is_none() && issues.is_empty();
    check(about, if well { Found::Right } else { Found::Wrong }, said.join("; "))
}

fn ready(nodes: &[NodeState], wanted: u32) -> Check {
    let ready = nodes.iter().filter(|node| node.ready).count();
    let mut said = vec![format!("{ready} of {} ready, {wanted} wanted", count(nodes.len(), "node"))];
    said.extend(nodes.iter().filter(|node| !node.ready).map(|node| format!("{}: {}", node.name, node.why)));
    let well = ready >= usize::try_from(wanted).unwrap_or(usize::MAX);
    check("nodes", if well { Found::Right } else { Found::Wrong }, said.join("; "))
}

/// The outputs that the configuration needs, and what they say that it does not.
fn look_at_outputs(config: &Config, outputs: &BTreeMap<String, Output>) -> (Vec<Check>, Vec<Wanted>) {
    let rows = &config.provision.checks.outputs;
    if rows.is_empty() {
        return (vec![not_checked("outputs", "provision.checks.outputs names none")], Vec::new());
    }
    let (mut checks, mut wanted) = (Vec::new(), Vec::new());
    for OutputKey { output, key } in rows {
        let about = format!("output {output}");
        match outputs.get(output).map(|found| (&found.value, found.sensitive)) {
            None | Some((Value::Null, _)) => checks.push(wrong(about, format!("there is none, and {key} needs it"))),
            Some((_, true)) => checks.push(not_checked(about, format!("it is sensitive, and {key} is not"))),
            Some((Value::String(value), false)) => {
                let now = configured(config, key);
                let same = now.as_deref() == Some(value);
                checks.push(right(about, if same { format!("{value}, as {key} has it") } else { value.clone() }));
                if !same {
                    wanted.push(Wanted { key: key.clone(), value: value.clone() });
                }
            }
            Some(_) => checks.push(wrong(about, format!("it is no text, and {key} is"))),
        }
    }
    (checks, wanted)
}

/// What the configuration says now, defaults and all.
fn configured(config: &Config, key: &str) -> Option<String> {
    if key == "images.registry" {
        // It follows from account and region where it is not set.
        return config.registry();
    }
    let config = serde_json::to_value(config).ok()?;
    let value = key.split('.').try_fold(&config, |value, name| value.get(name))?;
    value.as_str().map(str::to_owned)
}

/// A diff of the configuration file, and what it cannot show.
fn proposal(file: Option<&Path>, wanted: &[Wanted]) -> Result<(String, Vec<String>)> {
    let by_hand = |wanted: &[Wanted]| wanted.iter().map(|one| format!("{}: {}", one.key, one.value)).collect();
    let Some(file) = file.filter(|_| !wanted.is_empty()) else {
        return Ok((String::new(), by_hand(wanted)));
    };
    let text = std::fs::read_to_string(file)
        .map_err(|error| Error::config(format!("read {}", file.display())).because(error))?;
    let Proposed { text: next, by_hand: left } = propose(&text, wanted);
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    Ok((unified(&name, &text, &next), by_hand(&left)))
}

/// Databases and caches, asked from inside the cluster.
async fn probes(config: &Config, cluster: Option<&Cluster>, outputs: &BTreeMap<String, Output>) -> Vec<Check> {
    let settings = &config.provision.checks;
    if settings.probe.is_empty() {
        return vec![not_checked("reachable from the cluster", "provision.checks.probe names no output")];
    }
    let about = |name: &str| format!("{name}, from the cluster");
    let Some(image) = &settings.probe_image else {
        let why = "provision.checks.probe_image names no image with curl";
        return settings.probe.iter().map(|name| not_checked(about(name), why)).collect();
    };
    let looked = settings.probe.iter().map(async |name| {
        let address = outputs.get(name).and_then(|output| output.value.as_str());
        let Some((host, port)) = address.and_then(|address| address.rsplit_once(':')) else {
            return wrong(about(name), "there is no such output, or it is not host:port");
        };
        let (Ok(port), Some(cluster)) = (port.parse(), cluster) else {
            return wrong(about(name), "the cluster was not reached, or the port is no number");
        };
        match connects(cluster, &config.production.namespace, image, host, port).await {
            Ok(elapsed) => {
                right(about(name), format!("{host}:{port} connects within {} ms", elapsed.as_millis().max(1)))
            }
            Err(error) => wrong(
                about(name),
                std::iter::once(chain(&error)).chain(error.evidence().to_vec()).collect::<Vec<_>>().join("; "),
            ),
        }
    });
    futures::future::join_all(looked).await
}

/// Every public address of the configuration.
async fn sites(config: &Config) -> Vec<Check> {
    let apps = config.apps.iter().filter_map(|app| app.url.as_ref());
    let mut urls: Vec<&String> = config.production.urls.iter().chain(apps).collect();
    urls.sort();
    urls.dedup();
    if urls.is_empty() {
        return vec![not_checked("public addresses", "production.urls and apps name none")];
    }
    let asked = urls.into_iter().map(async |url| match site(url).await {
        Ok(found) => {
            let by = if found.cloudfront { " from CloudFront" } else { "" };
            let said = format!("{}{by} after {} ms", found.status, found.elapsed.as_millis());
            check(url, if found.status < 400 { Found::Right } else { Found::Wrong }, said)
        }
        Err(error) => failed(url, &error),
    });
    futures::future::join_all(asked).await
}

impl Checks {
    /// Those that are not as they should be.
    pub fn wrong(&self) -> impl Iterator<Item = &Check> {
        self.all.iter().filter(|check| check.found == Found::Wrong)
    }

    /// As a run keeps it.
    fn evidence(&self) -> Evidence {
        let left = self.all.iter().filter(|check| check.found == Found::NotChecked).count();
        let good = self.all.len() - left - self.wrong().count();
        let summary = format!("{good} of {} as they should be, {left} not checked", self.all.len() - left);
        self.all.iter().fold(Evidence::new(summary), |evidence, check| {
            let ok = (check.found != Found::NotChecked).then_some(check.found == Found::Right);
            evidence.fact(&check.about, &check.said, ok)
        })
    }

    /// As text, at most 80 columns where names allow; the diff as it is.
    pub fn text(&self, style: Style) -> String {
        let (checks, patch) = self.blocks();
        let Some(patch) = patch else { return checks.text(style) };
        let diff: Vec<_> = self.patch.lines().map(printable).collect();
        let end = if diff.is_empty() { "" } else { "\n" };
        checks.text(style) + &patch.text(style) + &diff.join("\n") + end
    }

    /// As Markdown of the GitHub flavour.
    pub fn markdown(&self) -> String {
        let (checks, patch) = self.blocks();
        let Some(patch) = patch else { return checks.markdown() };
        let lines: Vec<String> = self.patch.lines().map(|line| printable(line).replace("```", "'''")).collect();
        let diff = if lines.is_empty() { String::new() } else { format!("```diff\n{}\n```\n\n", lines.join("\n")) };
        checks.markdown() + &patch.markdown() + &diff
    }

    fn blocks(&self) -> (Block, Option<Block>) {
        let bad = self.wrong().count();
        let left = self.all.iter().filter(|check| check.found == Found::NotChecked).count();
        let all = self.all.len() - left;
        let tone = if bad > 0 { Tone::Bad } else { Tone::Good };
        let mut block =
            Block::new(format!("CHECKS: {} of {all} as they should be, {left} not checked", all - bad), tone);
        for check in &self.all {
            let Check { about, found, said } = check;
            match found {
                Found::Right => block.item("✓", format!("{about}: {said}"), Vec::new()),
                Found::Wrong => block.item("✗", about, vec![said.clone()]),
                Found::NotChecked => block.item("–", format!("not checked: {about}"), vec![said.clone()]),
            }
        }
        if self.patch.is_empty() && self.by_hand.is_empty() {
            return (block, None);
        }
        let mut patch = Block::new("CONFIGURATION that the outputs suggest; nothing was written", Tone::Strong);
        for line in &self.by_hand {
            patch.item("+", line, vec!["write this one by hand".to_owned()]);
        }
        (block, Some(patch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_right_when_it_is_active_new_and_without_issues() {
        let found = |status: &str, version: &str, wanted: Option<&str>, issues: &[String]| {
            part("x", status, version, wanted, issues).found
        };
        assert_eq!(found("ACTIVE", "1.33", Some("1.33"), &[]), Found::Right);
        assert_eq!(found("ACTIVE", "1.33", None, &[]), Found::Right);
        assert_eq!(found("UPDATING", "1.33", Some("1.33"), &[]), Found::Wrong);
        assert_eq!(found("ACTIVE", "1.32", Some("1.33"), &[]), Found::Wrong);
        assert_eq!(found("ACTIVE", "1.33", Some("1.33"), &["NodeCreationFailure: x".into()]), Found::Wrong);
        assert_eq!(parts("add-on", Ok(Vec::new()), None)[0].found, Found::Wrong);
    }

    #[test]
    fn nodes_that_are_not_ready_do_not_count() {
        let node = |name: &str, ready| NodeState { name: name.into(), ready, why: "no CNI".into() };
        let two = [node("a", true), node("b", false)];
        assert_eq!(ready(&two, 1).found, Found::Right);
        let check = ready(&two, 2);
        assert_eq!((check.found, check.said.as_str()), (Found::Wrong, "1 of 2 nodes ready, 2 wanted; b: no CNI"));
        assert_eq!(ready(&[], 2).found, Found::Wrong);
    }
}
