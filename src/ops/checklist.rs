//! `checklist`: the runbook's eight gates, asked at once; and attesting what only a person can see.

use std::sync::Arc;

use serde_json::json;

use crate::adapters::cluster::{ConfigMaps, ExternalSecrets};
use crate::cli::checklist::{Action, Attest, Checklist as Args};
use crate::domain::WorldKind;
use crate::engine::{Engine, Facts, Gate, Plan};
use crate::error::{Error, Result};
use crate::gates::{self, Attestation, Baseline, Waiver, attestation};
use crate::monitor::databases::Database;
use crate::monitor::endpoints::Endpoints;
use crate::monitor::metrics::Metrics;
use crate::ui::out::Out;

use super::connect::{Connected, connect};
use super::{Invocation, candidate, guards};

/// Why a first release goes without a gate.
const FIRST: &str = "first release: there is nothing before it";

/// The eight gates of the release checklist, in the runbook's order. `first`: waives what a first release cannot have.
pub fn gates(invocation: &Invocation, connected: &Connected, first: bool) -> Result<Vec<Box<dyn Gate>>> {
    let config = &invocation.config;
    let (staging, production) = (&connected.staging, &connected.production);
    let env = &invocation.env;
    let staging_databases = Database::all(config, &config.staging, true, &staging.cluster, env)?;
    let production_databases = Database::all(config, &config.production, false, &production.cluster, env)?;
    let metrics = |environment, cluster| Metrics::new(config, environment, cluster);
    let waiver = first.then(|| Waiver { who: invocation.who(), why: FIRST.to_owned(), until: None });
    let baseline = match &waiver {
        Some(waiver) => Baseline::Waived(waiver.clone()),
        None => Baseline::Production(Box::new(metrics(&config.production, &production.cluster)?)),
    };
    Ok(vec![
        Box::new(gates::Ci {
            github: connected.github.clone(),
            branch: config.repository.main.clone(),
            limits: config.gates.clone(),
        }),
        Box::new(gates::Soak {
            config: config.clone(),
            workloads: staging.workloads.clone(),
            applications: connected.applications.clone(),
            git: Arc::clone(&connected.git),
            aws: production.aws.clone(),
        }),
        Box::new(gates::Health { endpoints: Endpoints::new(config, &config.staging, &staging.cluster)? }),
        Box::new(gates::Errors {
            metrics: metrics(&config.staging, &staging.cluster)?,
            workloads: staging.workloads.clone(),
            window: config.gates.window,
            limit: config.gates.error_ratio,
        }),
        Box::new(gates::Migrations {
            git: Arc::clone(&connected.git),
            staging: staging_databases,
            production: production_databases.clone(),
        }),
        Box::new(gates::Smoke {
            maps: ConfigMaps::new(&production.cluster, &config.production.namespace),
            max_age: config.gates.attestation_age,
            world: connected.world.kind,
        }),
        Box::new(gates::Performance {
            staging: metrics(&config.staging, &staging.cluster)?,
            baseline,
            limits: config.gates.clone(),
        }),
        Box::new(gates::Rollback {
            config: config.clone(),
            aws: production.aws.clone(),
            workloads: production.workloads.clone(),
            secrets: ExternalSecrets::new(&production.cluster, &config.production.namespace),
            git: Arc::clone(&connected.git),
            databases: production_databases,
            first_release: waiver,
        }),
    ])
}

/// Asks all gates about what staging runs now, or records an attestation for it.
pub async fn checklist(invocation: &mut Invocation, args: &Args, out: &mut Out, json: bool) -> Result<u8> {
    let connected = connect(invocation).await?;
    let config = invocation.config.clone();
    let candidate =
        candidate::find(&config, &connected.staging.workloads, &connected.production.aws, &connected.git).await?;
    if let Some(Action::Attest(attest)) = &args.action {
        return attested(invocation, &connected, attest, &candidate.commit, out, json).await;
    }
    guards::followed(&connected.applications, &config).await?;
    let live = match candidate::running(&config, &connected.production.aws, &connected.production.workloads).await {
        Err(error) if args.first_release && error.kind() == crate::Kind::GateBlocked => {
            std::collections::BTreeMap::new()
        }
        other => other?,
    };
    let previous = candidate::live_version(&config, &connected.production.aws, &connected.git, &live).await?;
    let commit = candidate.commit.clone();
    let facts = Facts { candidate: Some(candidate), previous, ..Facts::default() };
    let plan = Plan::new("checklist").gates(gates(invocation, &connected, args.first_release)?);
    let (clock, cancel) = (invocation.clock.clone(), invocation.cancel.clone());
    let mut engine = Engine::dry(clock, cancel, invocation.listener.as_mut(), facts.into());
    let blocked = engine.run(&plan).await.err();
    let verdicts = engine.verdicts().clone();
    if json {
        let exit = blocked.as_ref().map_or(0, |error| error.kind().exit_code());
        out.json(&json!({"candidate": commit, "exit": exit, "gates": verdicts, "rollback": engine.facts().rollback}))?;
    } else if blocked.is_none() {
        out.line(&format!("{} of {} gates let {} through", verdicts.len(), verdicts.len(), commit.short()))?;
    }
    drop(engine);
    match blocked {
        None => Ok(0),
        // The document above has told it already.
        Some(error) if json => Ok(error.kind().exit_code()),
        Some(error) => Err(error),
    }
}

async fn attested(
    invocation: &Invocation,
    connected: &Connected,
    args: &Attest,
    commit: &crate::domain::CommitSha,
    out: &mut Out,
    json: bool,
) -> Result<u8> {
    if invocation.dry_run {
        out.line(&format!("would attest {} for {}", args.gate.id(), commit.short()))?;
        return Ok(0);
    }
    let maps = ConfigMaps::new(&connected.production.cluster, &invocation.config.production.namespace);
    let attestation = Attestation {
        gate: args.gate.id().to_owned(),
        commit: commit.clone(),
        who: args.who.clone().unwrap_or_else(|| invocation.who()),
        at: invocation.clock.now(),
        note: args.note.clone(),
        link: Some(args.link.clone()),
        rehearsal: connected.world.kind != WorldKind::Real,
    };
    attestation::record(&maps, &attestation).await?;
    if json {
        let value = serde_json::to_value(&attestation)
            .map_err(|error| Error::internal("write the attestation as JSON").because(error))?;
        out.json(&value)?;
    } else {
        out.line(&format!(
            "{} attested {} for {}: {}",
            attestation.who,
            attestation.gate,
            commit.short(),
            attestation.note
        ))?;
    }
    Ok(0)
}
