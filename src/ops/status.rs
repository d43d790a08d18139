//! `status`: the lock, open runs and debts, and the command that goes on with each.

use serde_json::{Value, json};

use crate::adapters::cluster::{ConfigMaps, Leases, Workloads};
use crate::adapters::git::Git;
use crate::domain::printable;
use crate::engine::RunState;
use crate::error::{Kind, Result};
use crate::ui;
use crate::ui::out::Out;

use super::connect::{self, argo_cluster, production};
use super::debt::{self, Places};
use super::runs::{brief, outcome};
use super::shared::Runs;
use super::{Invocation, provision};

/// What goes on now, and what is left open.
pub async fn status(invocation: &mut Invocation, out: &mut Out, json: bool) -> Result<u8> {
    let applies = provision::open(invocation)?;
    let found = production(invocation).await;
    if !json {
        for open in &applies {
            open_run(&open.state, "", out)?;
            for line in &open.said {
                out.labelled(&format!("          {}", printable(line)))?;
            }
        }
    }
    let (place, namespace) = match found {
        Ok(found) => found,
        // The cluster may be what is being made: what is known here is told all the same.
        Err(error) if json && !applies.is_empty() => {
            let exit = error.kind().exit_code();
            let open: Vec<Value> = applies.iter().map(provision::Open::document).collect();
            out.json(&json!({"open": open, "error": ui::error::json(&error)["error"], "exit": exit}))?;
            return Ok(exit);
        }
        Err(error) => return Err(error),
    };
    let maps = ConfigMaps::new(&place.cluster, &namespace);
    let runs = Runs::new(maps.clone());
    let leases = Leases::new(&place.cluster, &namespace);
    let (lease, runs, debts) = futures::join!(leases.get(), runs.all_and_unread(), debts(invocation, &place, maps));
    let (lease, (all, unread), (debts, unread_debts)) = (lease?, runs?, debts?);
    let held = lease.filter(|lease| lease.holder.as_deref().is_some_and(|holder| !holder.is_empty()));
    let open: Vec<&RunState> = all.iter().filter(|state| state.is_open()).collect();
    // Of what cannot be read nobody knows that it is in time.
    let overdue = !unread_debts.is_empty() || debts.iter().any(|debt| debt.overdue);
    let exit = if overdue { Kind::Debt.exit_code() } else { 0 };
    if json {
        out.json(&json!({
            "lock": held.as_ref().map(|lease| json!({"holder": lease.holder, "run": lease.run, "renewed": lease.renewed_at})),
            "open": open.iter().map(|state| brief(state)).chain(applies.iter().map(provision::Open::document)).collect::<Vec<_>>(),
            "unread": unread,
            "last": all.last().map(brief),
            "debts": debts,
            "unread_debts": unread_debts,
            "exit": exit,
        }))?;
        return Ok(exit);
    }
    match &held {
        None => out.labelled("lock      free")?,
        Some(lease) => {
            let run = lease.run.as_deref().unwrap_or("unknown");
            out.labelled(&format!("lock      {} (run {run})", printable(lease.holder.as_deref().unwrap_or_default())))?;
        }
    }
    if open.is_empty() && applies.is_empty() && unread.is_empty() {
        out.labelled("open runs none")?;
    }
    for run in &unread {
        out.labelled(&format!("open run  {run} cannot be read by this gospel-release: what it changed is not known"))?;
        out.labelled("          with the gospel-release that began it: gospel-release status")?;
        out.labelled(&format!("          or close it unread: gospel-release abort {run}"))?;
    }
    for state in open {
        let mine = held.as_ref().is_some_and(|lease| lease.run.as_deref() == Some(state.header.run.as_str()));
        open_run(state, if mine { " --takeover (if its process is dead)" } else { "" }, out)?;
    }
    if let Some(last) = all.iter().rev().find(|state| !state.is_open()) {
        let version = last.version().map(ToString::to_string).unwrap_or_default();
        out.labelled(&format!("last run  {} {} {version}: {}", last.header.run, last.header.command, outcome(last)))?;
    }
    let now = invocation.clock.now();
    if debts.is_empty() && unread_debts.is_empty() {
        out.labelled("debts     none")?;
    }
    for (index, unread) in unread_debts.iter().enumerate() {
        let (label, key) = (if index == 0 { "debts" } else { "" }, printable(&unread.key));
        let place = unread.config_map;
        out.labelled(&format!(
            "{label:<9} {key} in {place} cannot be read by this gospel-release, and counts as open"
        ))?;
        out.labelled(&format!("            to look: {}", unread.look))?;
    }
    for (index, debt) in debt::told(&debts).iter().enumerate() {
        for (line, text) in debt::lines(debt, now).into_iter().enumerate() {
            let label = if index == 0 && line == 0 && unread_debts.is_empty() { "debts" } else { "" };
            out.labelled(&format!("{label:<9} {text}"))?;
        }
    }
    Ok(exit)
}

fn open_run(state: &RunState, takeover: &str, out: &mut Out) -> Result<()> {
    let version = state.version().map(|version| format!(" {version}")).unwrap_or_default();
    let next = state.next_step().map_or(String::new(), |step| format!(", next: {}", step.id));
    let (run, command, by) = (&state.header.run, &state.header.command, &state.header.by);
    out.labelled(&format!("open run  {run} {}{version} by {}{next}", printable(command), printable(by)))?;
    out.labelled(&format!("          {}", outcome(state)))?;
    // What was advised when it stopped knows more than we do now.
    let advised = state.ended.as_ref().map_or(&[][..], |ended| &ended.next);
    for line in advised {
        out.labelled(&format!("          next: {}", printable(line)))?;
    }
    if advised.iter().any(|line| line.contains("gospel-release resume") || line.contains("gospel-release abort")) {
        return Ok(());
    }
    out.labelled(&format!("          gospel-release resume {run}{takeover}"))
}

/// The open debts. Git is fetched only where something may be owed.
async fn debts(
    invocation: &Invocation,
    place: &connect::Place,
    maps: ConfigMaps,
) -> Result<(Vec<debt::Open>, Vec<debt::Unread>)> {
    let config = &invocation.config;
    if !debt::any(&maps).await? {
        return Ok((Vec::new(), Vec::new()));
    }
    let git = match Git::open(&config.repository, &invocation.base) {
        // Who looks because something is broken is told what is known without it.
        Ok(git) => connect::fetched(&git, true).await.ok().map(|()| git),
        Err(_) => None,
    };
    // Without a token a debt may stay open that GitHub knows to be closed: it errs on the safe side.
    let github = connect::github(&invocation.config, &invocation.env).await.ok();
    let argo = argo_cluster(config, &place.aws, &place.cluster).await.ok();
    let applications = argo.map(|(cluster, _)| connect::applications(config, &cluster));
    let workloads = Workloads::new(&place.cluster, &config.production.namespace);
    let places = Places {
        config,
        git: git.as_ref(),
        github: github.as_ref(),
        workloads: &workloads,
        applications: applications.as_ref(),
        maps,
    };
    places.open(invocation.clock.now()).await
}
