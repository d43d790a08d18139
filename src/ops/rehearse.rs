//! `rehearse`: the scenarios, and a served world.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use crate::cli::rehearse::Serve;
use crate::config::Env;
use crate::domain::{sh_word, wrapped};
use crate::error::Result;
use crate::rehearsal::Scenario;
use crate::rehearsal::measure::Pace;
use crate::rehearsal::serve::{Manifest, Options, Rehearsal};
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

/// `rehearse serve`: what another shell needs, then the world, until a signal ends it.
pub async fn serve(args: &Serve, env: &Env, stop: &CancellationToken, out: &mut Out, json: bool) -> Result<()> {
    let mut options = Options::new(Scenario::named(&args.scenario)?);
    options.seed = args.seed;
    options.speed = args.speed.unwrap_or(options.speed);
    options.services = usize::from(args.services);
    options.pace = Pace { ready_after: args.ready_after, probe_delay: args.probe_delay };
    options.separate = args.separate_clusters;
    let rehearsal = Rehearsal::start(options).await?;
    let manifest = rehearsal.manifest();
    if json {
        out.json_line(manifest)?;
    } else {
        out.bytes(for_a_shell(manifest, &ambient(env), env).as_bytes())?;
        out.flush()?;
    }
    stop.cancelled().await;
    rehearsal.shutdown().await;
    Ok(())
}

/// The manifest as lines for `sh`: all of them may be pasted.
fn for_a_shell(manifest: &Manifest, ambient: &[String], env: &Env) -> String {
    let path = |path: &Path| sh_word(&path.to_string_lossy());
    let mut lines = vec![format!("# the world of {}, until Ctrl-C here; for another shell:", manifest.scenario)];
    let set = |name: &&String| env.os(name).is_some() && !manifest.environment.contains_key(*name);
    let foreign: Vec<&str> = ambient.iter().filter(set).map(String::as_str).collect();
    if !foreign.is_empty() {
        lines.push(format!("unset {}", foreign.join(" ")));
    }
    lines.extend(manifest.environment.iter().map(|(name, value)| format!("export {name}={}", sh_word(value))));
    lines.push(format!("export GOSPEL_RELEASE_CONFIG={}", path(&manifest.config)));
    lines.push(format!("cd {}", path(&manifest.checkout)));
    let ours = std::env::current_exe().map_or_else(|_| "gospel-release".to_owned(), |program| path(&program));
    if let Some(control) = manifest.urls.get("control") {
        lines.push(format!("# to repair what broke: curl -X PUT -d false {control}/faults/NAME"));
    }
    lines.push("# and then, for example:".to_owned());
    lines.push(format!("{ours} status"));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_takes_the_lines_as_they_stand() {
        let manifest = Manifest {
            scenario: "clean".to_owned(),
            kubeconfig: "/tmp/w/kubeconfig".into(),
            git: "http://127.0.0.1:1/g.git".to_owned(),
            config: "/tmp/w/gospel-release.yaml".into(),
            checkout: "/tmp/w/my checkout".into(),
            urls: std::collections::BTreeMap::new(),
            environment: [("PG", "postgres://a?b=c&d"), ("AWS_REGION", "eu-west-1")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        };
        let env: Env =
            [("AWS_PROFILE", "mine"), ("AWS_REGION", "us-east-1"), ("HOME", "/home/tess")].into_iter().collect();
        let text = for_a_shell(&manifest, &ambient(&env), &env);
        let mut lines: Vec<&str> = text.lines().collect();
        assert!(lines.pop().is_some_and(|line| line.ends_with(" status")));
        assert_eq!(
            lines,
            [
                "# the world of clean, until Ctrl-C here; for another shell:",
                "unset AWS_PROFILE",
                "export AWS_REGION=eu-west-1",
                "export PG='postgres://a?b=c&d'",
                "export GOSPEL_RELEASE_CONFIG=/tmp/w/gospel-release.yaml",
                "cd '/tmp/w/my checkout'",
                "# and then, for example:",
            ]
        );
    }
}
