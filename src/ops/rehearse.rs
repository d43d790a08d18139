//! `rehearse`: the scenarios, and a served world.

use tokio_util::sync::CancellationToken;

use crate::cli::rehearse::Serve;
use crate::config::Env;
use crate::domain::wrapped;
use crate::error::Result;
use crate::rehearsal::Scenario;
use crate::rehearsal::measure::Pace;
use crate::rehearsal::serve::{Options, Rehearsal};
use crate::ui::out::Out;

/// What of a person's surroundings must not reach a rehearsal: credentials, and what points at real systems.
#[must_use]
pub fn ambient(env: &Env) -> Vec<String> {
    let prefixes = ["AWS_", "KUBE", "GH_", "GITHUB_", "GIT_", "PG", "TF_"];
    let exact = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];
    let mut names: Vec<String> = prefixes
        .iter()
        .flat_map(|prefix| env.with_prefix(prefix).map(move |(rest, _)| format!("{prefix}{rest}")))
        .chain(exact.iter().map(|name| (*name).to_owned()))
        .collect();
    // Configuration of the real world: the rehearsal brings its own.
    names.extend(
        env.with_prefix("GOSPEL_RELEASE_")
            .filter(|(name, _)| name.contains("__"))
            .map(|(name, _)| format!("GOSPEL_RELEASE_{name}")),
    );
    names.push("GOSPEL_RELEASE_CONFIG".to_owned());
    names
}

/// `rehearse list`: each scenario, what breaks, and what a good engineer does.
pub fn list(out: &mut Out, json: bool) -> Result<()> {
    let scenarios = Scenario::all()?;
    if json {
        return out.json(&scenarios);
    }
    let width = usize::min(out.style().width, 100);
    for scenario in scenarios {
        let exits: Vec<String> = scenario.exit.iter().map(|(command, exit)| format!("{command} ends {exit}")).collect();
        out.line(&format!("{}: {} ({})", scenario.name, scenario.summary, exits.join(", ")))?;
        for (title, text) in [("breaks", &scenario.breaks), ("engineer", &scenario.engineer)] {
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            for line in wrapped(&format!("  {title:<10}{text}"), width, 12) {
                out.line(&line)?;
            }
        }
        out.line("")?;
    }
    Ok(())
}

/// `rehearse serve`: one JSON line, then the world, until a signal ends it.
pub async fn serve(args: &Serve, stop: &CancellationToken, out: &mut Out) -> Result<()> {
    let mut options = Options::new(Scenario::named(&args.scenario)?);
    options.seed = args.seed;
    options.speed = args.speed.unwrap_or(options.speed);
    options.services = usize::from(args.services);
    options.pace = Pace { ready_after: args.ready_after, probe_delay: args.probe_delay };
    options.separate = args.separate_clusters;
    let rehearsal = Rehearsal::start(options).await?;
    out.json_line(rehearsal.manifest())?;
    stop.cancelled().await;
    rehearsal.shutdown().await;
    Ok(())
}
