//! `doctor`: whether everything that a release needs is here, reachable, and the right one.

use serde::Serialize;

use crate::adapters::aws::Aws;
use crate::adapters::cluster::{Cluster, Leases, Workloads};
use crate::adapters::git::Git;
use crate::adapters::http::{self, Probe, probe_url};
use crate::config::Config;
use crate::config::model::Environment;
use crate::domain::{count, printable};
use crate::error::{Error, Kind, Result, chain};
use crate::monitor::databases::Database;
use crate::monitor::endpoints::Endpoints;
use crate::monitor::metrics::Metrics;
use crate::process::{Program, find};
use crate::ui::out::Out;

use super::credentials::Session;
use super::promote::webhook_url;
use super::{Invocation, connect, guards};

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
struct Look {
    about: String,
    ok: bool,
    said: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
    /// The exit code that this stands for, when it is not well.
    #[serde(skip)]
    kind: Option<Kind>,
}

/// Looks at everything at once; changes nothing. Ends with the code of the worst finding.
pub async fn doctor(invocation: &mut Invocation, out: &mut Out, json: bool) -> Result<u8> {
    let looks = look(invocation).await;
    let wrong: Vec<&Look> = looks.iter().filter(|look| !look.ok).collect();
    let exit = exit(&wrong);
    if json {
        out.json(&serde_json::json!({"ok": wrong.is_empty(), "exit": exit, "looks": looks}))?;
        return Ok(exit);
    }
    let width = looks.iter().map(|look| look.about.chars().count()).max().unwrap_or(0);
    for look in &looks {
        let mark = if look.ok { crate::ui::words::Mark::Good } else { crate::ui::words::Mark::Bad };
        out.line(&format!("{} {:<width$}  {}", mark.painted(out.style()), look.about, printable(&look.said)))?;
        if let Some(fix) = look.fix.as_ref().filter(|_| !look.ok) {
            out.line(&format!("  {:<width$}  fix: {}", "", printable(fix)))?;
        }
    }
    let all = looks.len();
    out.line(&format!("{} of {all} are well", all - wrong.len()))?;
    Ok(exit)
}

/// A wrong world is worse than a blocked gate, and that than something out of reach.
fn exit(wrong: &[&Look]) -> u8 {
    let kinds: Vec<Kind> = wrong.iter().filter_map(|look| look.kind).collect();
    let worst = [Kind::WrongWorld, Kind::GateBlocked, Kind::Config].into_iter().find(|kind| kinds.contains(kind));
    match worst {
        Some(kind) => kind.exit_code(),
        None if wrong.is_empty() => 0,
        None => Kind::Outside.exit_code(),
    }
}

fn good(about: impl Into<String>, said: impl Into<String>) -> Look {
    Look { about: about.into(), ok: true, said: said.into(), fix: None, kind: None }
}

fn bad(about: impl Into<String>, error: &Error) -> Look {
    Look {
        about: about.into(),
        ok: false,
        said: chain(error),
        fix: error.hints().first().cloned(),
        kind: Some(error.kind()),
    }
}

/// A look from a result.
fn told(about: impl Into<String>, result: Result<String>) -> Look {
    match result {
        Ok(said) => good(about, said),
        Err(error) => bad(about, &error),
    }
}

async fn look(invocation: &Invocation) -> Vec<Look> {
    let config = &invocation.config;
    let (mut looks, github, production, staging) = futures::join!(
        programs(invocation),
        github(invocation),
        environment(invocation, &config.production, "production", false),
        environment(invocation, &config.staging, "staging", true),
    );
    looks.extend(checkout(invocation).await);
    looks.extend(github);
    looks.extend(production);
    looks.extend(staging);
    looks.extend(webhook(invocation));
    looks
}

/// Whether the team can be told; nothing is posted.
fn webhook(invocation: &Invocation) -> Option<Look> {
    Some(match webhook_url(invocation, &invocation.config.announce)? {
        Ok(_) => good("webhook", "its URL is known; nothing was posted"),
        Err(why) => bad("webhook", &Error::outside(why).hint("export it, or nobody is told of a release")),
    })
}

/// Programs and their versions. Only git is needed always.
async fn programs(invocation: &Invocation) -> Vec<Look> {
    let migrate = invocation.config.migrations.program.as_str();
    let needs_migrate = invocation.config.services.iter().any(|service| service.database.is_some());
    let wanted: [(&str, &[&str], bool); 2] = [("git", &["--version"], true), (migrate, &["-version"], needs_migrate)];
    let looked = wanted.iter().map(async |(name, args, needed)| {
        let short = std::path::Path::new(name).file_name().unwrap_or_default().to_string_lossy().into_owned();
        match Program::new(name).args(args.iter()).output().await {
            Ok(ended) => {
                let text = format!("{}{}", ended.text(), ended.error_text());
                good(short, text.lines().next().unwrap_or("answers").trim().to_owned())
            }
            Err(_) if !needed => good(short, "not here, and not needed"),
            Err(error) => bad(short, &error),
        }
    });
    let mut looks = futures::future::join_all(looked).await;
    if find("gh").is_none() && invocation.env.first(&invocation.config.github.token_env).is_none() {
        looks.push(Look {
            about: "gh".into(),
            ok: false,
            said: "no GitHub token in the environment, and no gh to ask for one".into(),
            fix: Some(format!("set {}", invocation.config.github.token_env.join(" or "))),
            kind: Some(Kind::Outside),
        });
    }
    looks
}

async fn checkout(invocation: &Invocation) -> Vec<Look> {
    let git = match Git::open(&invocation.config.repository, &invocation.base) {
        Ok(git) => git,
        Err(error) => return vec![bad("checkout", &error)],
    };
    let state = git.ensure_complete().map(|state| {
        let head = state.head.as_ref().map_or("no commit", |head| head.short()).to_owned();
        if state.detached { format!("complete, detached at {head}") } else { format!("complete, at {head}") }
    });
    let remote = match git.remote_url().await {
        Ok(url) => git.fetch().await.map(|()| url),
        Err(error) => Err(error),
    };
    vec![told("checkout", state), told("remote", remote)]
}

async fn github(invocation: &Invocation) -> Vec<Look> {
    let config = &invocation.config;
    let github = match connect::github(&invocation.config, &invocation.env).await {
        Ok(github) => github,
        Err(error) => return vec![bad("github", &error)],
    };
    let (user, repository, workflow, approval, tags) = futures::join!(
        github.user(),
        github.repository(),
        github.workflow_state(&config.workflow.file),
        guards::approval_rule(&github, config),
        guards::tag_rule(&github, config),
    );
    let user = user.map(|user| user.login.map_or("an app's token".to_owned(), |login| format!("signed in as {login}")));
    let may_push = |may: bool| if may { "may push" } else { "may NOT push: tags need it" };
    let repository =
        repository.map(|repository| format!("{}, {}", repository.full_name, may_push(repository.permissions.push)));
    let workflow = workflow.and_then(|state| match state.as_deref() {
        Some("active") => Ok("active".to_owned()),
        Some(other) => {
            Err(Error::new(Kind::GateBlocked, format!("it is {other}")).hint("enable it on the Actions page"))
        }
        None => Err(Error::new(Kind::GateBlocked, format!("there is no {}", config.workflow.file))),
    });
    let mut looks = vec![told("github", user), told("repository", repository), told(&config.workflow.file, workflow)];
    for (name, guard) in
        [("approval rule", approval), ("tag rule", tags), ("same bytes", Ok(guards::same_bytes(config)))]
    {
        looks.push(match guard {
            Ok(guard) if guard.ok => good(guard.name, guard.said),
            Ok(guard) => Look {
                about: guard.name.into(),
                ok: false,
                said: guard.said,
                fix: Some(guard.fix),
                kind: Some(Kind::GateBlocked),
            },
            Err(error) => bad(name, &error),
        });
    }
    looks
}

async fn environment(invocation: &Invocation, settings: &Environment, name: &'static str, staging: bool) -> Vec<Look> {
    let config = &invocation.config;
    let aws = match Aws::connect(&settings.aws).await {
        Ok(aws) => aws,
        Err(error) => return vec![bad(format!("{name} aws"), &error)],
    };
    let identity =
        aws.verified_identity().await.map(|identity| format!("account {} as {}", identity.account, identity.arn));
    let mut looks = vec![told(format!("{name} aws"), identity), credentials(invocation, &aws, name).await];
    let cluster = match Cluster::connect(&settings.cluster, Some(&aws)).await {
        Ok(cluster) => cluster,
        Err(error) => {
            looks.push(bad(format!("{name} cluster"), &error));
            return looks;
        }
    };
    let workloads = Workloads::new(&cluster, &settings.namespace);
    let (version, deployments, health, urls, metrics, databases) = futures::join!(
        cluster.version(),
        workloads.deployments(),
        health(config, settings, &cluster),
        urls(settings),
        metrics(invocation, settings, &cluster),
        databases(invocation, settings, staging, &cluster),
    );
    looks
        .push(told(format!("{name} cluster"), version.map(|version| format!("{} ({version})", cluster.identity().id))));
    looks.push(told(
        format!("{name} namespace"),
        deployments.and_then(|found| services(config, &found, &settings.namespace)),
    ));
    looks.push(told(format!("{name} health"), health));
    looks.extend(urls.map(|urls| told(format!("{name} URLs"), urls)));
    looks.push(told(format!("{name} metrics"), metrics));
    looks.extend(databases.into_iter().map(|(service, result)| told(format!("{name} db {service}"), result)));
    if !staging {
        let leases = Leases::new(&cluster, &settings.namespace);
        looks.push(told(
            "lock",
            leases.get().await.map(|lease| {
                lease.and_then(|lease| lease.holder).map_or("free".to_owned(), |holder| format!("held by {holder}"))
            }),
        ));
        looks.push(argo(config, &aws, &cluster).await);
    }
    looks
}

async fn credentials(invocation: &Invocation, aws: &Aws, name: &'static str) -> Look {
    let about = format!("{name} credentials");
    match Session::of(aws, name).await {
        Ok(None) => good(about, "do not expire"),
        Ok(Some(session)) => {
            let clock = &invocation.clock;
            let needed = clock.to_wall(invocation.config.watch.lasts + invocation.config.rollout.within);
            Look {
                about,
                ok: session.left(clock) > needed,
                said: session.said(clock),
                fix: Some(format!("before a release: {}", session.renew)),
                kind: Some(Kind::Outside),
            }
        }
        Err(error) => bad(about, &error),
    }
}

fn services(config: &Config, found: &[crate::adapters::cluster::DeploymentState], namespace: &str) -> Result<String> {
    let missing: Vec<String> = config
        .services
        .iter()
        .map(|service| config.deployment_of(service))
        .filter(|name| !found.iter().any(|deployment| deployment.name == *name))
        .collect();
    if missing.is_empty() {
        return Ok(format!("{namespace}: all {} Deployments", config.services.len()));
    }
    Err(Error::outside(format!("{namespace} has no Deployment {}", missing.join(", ")))
        .hint("check services, images.prefix and namespace in the configuration"))
}

async fn health(config: &Config, settings: &Environment, cluster: &Cluster) -> Result<String> {
    let endpoints = Endpoints::new(config, settings, cluster)?;
    let looks = endpoints.look().await;
    if let Some(look) = looks.iter().find(|look| look.unanswered) {
        return Err(Error::outside(format!("{} {}: {}", look.service, look.path, look.said)));
    }
    Ok(format!("reached; {}", endpoints.evidence(&looks).summary))
}

/// The pages that people open; `None` where none is configured.
async fn urls(settings: &Environment) -> Option<Result<String>> {
    if settings.urls.is_empty() {
        return None;
    }
    let client = match http::client() {
        Ok(client) => client,
        Err(error) => return Some(Err(error)),
    };
    let asked = futures::future::join_all(settings.urls.iter().map(|url| probe_url(&client, url))).await;
    let answers: Result<Vec<Probe>> = asked.into_iter().collect();
    Some(answers.and_then(|answers| match settings.urls.iter().zip(&answers).find(|(_, answer)| !answer.is_ok()) {
        None => Ok(format!("{} answer", count(answers.len(), "URL"))),
        Some((url, answer)) => Err(Error::outside(format!("{url} answers {}", answer.status))),
    }))
}

async fn metrics(invocation: &Invocation, settings: &Environment, cluster: &Cluster) -> Result<String> {
    let metrics = Metrics::new(&invocation.config, settings, cluster)?;
    let look = metrics.look(invocation.config.gates.window, invocation.clock.now()).await?;
    let silent: Vec<&str> =
        look.services.iter().filter(|(_, sli)| !sli.has_data()).map(|(service, _)| service.as_str()).collect();
    if silent.is_empty() {
        return Ok(format!("{} services have data", look.services.len()));
    }
    Err(Error::outside(format!("no data of {}", silent.join(", ")))
        .hint("check the queries and the label under prometheus in the configuration"))
}

async fn databases(
    invocation: &Invocation,
    settings: &Environment,
    staging: bool,
    cluster: &Cluster,
) -> Vec<(String, Result<String>)> {
    let databases = match Database::all(&invocation.config, settings, staging, cluster, &invocation.env) {
        Ok(databases) => databases,
        Err(error) => return vec![("all".to_owned(), Err(error))],
    };
    let looked = databases.iter().map(async |database| {
        let state = database.state().await.map(|state| {
            let dirty = if state.dirty { " (dirty)" } else { "" };
            state.version.map_or("no migration".to_owned(), |version| format!("at migration {version}{dirty}"))
        });
        (database.service.to_string(), state)
    });
    futures::future::join_all(looked).await
}

async fn argo(config: &Config, aws: &Aws, production: &Cluster) -> Look {
    let cluster = match connect::argo_cluster(config, aws, production).await {
        Ok((cluster, _)) => cluster,
        Err(error) => return bad("argo cd", &error),
    };
    let applications = connect::applications(config, &cluster);
    let application = applications.application(&config.argo.application).await.and_then(|app| {
        app.must_be_clear()?;
        let auto = if app.auto_sync { "syncs by itself" } else { "does NOT sync by itself" };
        Ok(format!("{}: {}, {}, {auto}", app.name, app.sync_status, app.health))
    });
    told("argo cd", application)
}
