//! `hotfix start`: a branch from what production runs.

use serde_json::json;

use crate::adapters::git::{Git, ReleaseTag};
use crate::cli::hotfix::Start as Args;
use crate::domain::{CommitSha, HotfixName, Version, count};
use crate::error::{Error, Kind, Result};
use crate::ops::Invocation;
use crate::ops::candidate;
use crate::ops::connect::{Connected, connect_despite};
use crate::ops::live::Live;
use crate::ui::out::Out;

/// Makes the branch and switches to it. Done before, it says so.
pub async fn start(invocation: &mut Invocation, args: &Args, out: &mut Out, json: bool) -> Result<u8> {
    invocation.note("looking at what production runs");
    let (connected, outages) = connect_despite(invocation, false).await?;
    let git = &connected.git;
    git.ensure_work_tree()?;
    if let Some(error) = &outages.git {
        invocation.warn(format!("Git does not answer; release tags are as they were fetched last: {error}"));
    }
    let base = base(invocation, &connected, args.from.as_ref()).await?;
    let branch = args.name.branch();
    let made = branch_at(invocation, git, &args.name, &base.commit, outages.git.is_none()).await?;
    if json {
        out.json(&json!({
            "branch": branch, "base": base.version, "commit": base.commit, "made": made, "exit": 0,
        }))?;
        return Ok(0);
    }
    let said = match (made, invocation.dry_run) {
        (true, false) => format!("{branch} begins at {} ({})", base.version, base.commit.short()),
        (true, true) => format!("dry run: {branch} would begin at {} ({})", base.version, base.commit.short()),
        (false, _) => already(git, &branch, &base)?,
    };
    out.line(&said)?;
    out.line("next:  git commit -a                      (mend it; one small commit)")?;
    out.line("       gospel-release hotfix ship --reason TEXT")?;
    out.line("       gospel-release hotfix finish            (release tag, merge to main)")?;
    Ok(0)
}

fn already(git: &Git, branch: &str, base: &ReleaseTag) -> Result<String> {
    let tip = git.branch(branch)?.unwrap_or_else(|| base.commit.clone());
    let on_top = git.commits_between(Some(&base.commit), &tip)?.len();
    Ok(format!(
        "{branch} is there already: {} ({}) and {} on it",
        base.version,
        base.commit.short(),
        count(on_top, "commit")
    ))
}

/// The release tag that the branch begins at: the one asked for, or what production runs.
async fn base(invocation: &mut Invocation, connected: &Connected, from: Option<&Version>) -> Result<ReleaseTag> {
    let live = live(invocation, connected).await;
    let running = live.as_ref().ok().and_then(|live| live.release.clone());
    let tags = connected.git.release_tags()?;
    let wanted = match (from, running) {
        (None, Some(running)) => running,
        (None, None) => return Err(no_release(live)),
        (Some(from), running) => {
            if running.as_ref() != Some(from) {
                let runs = running.map_or("no one release".to_owned(), |version| version.to_string());
                invocation.warn(format!(
                    "production runs {runs}, not {from}: what it runs beyond {from} is not in this hotfix"
                ));
            }
            from.clone()
        }
    };
    tags.iter().find(|tag| tag.version == wanted).cloned().ok_or_else(|| {
        let known: Vec<String> = tags.iter().rev().take(8).map(|tag| tag.version.to_string()).collect();
        let name = invocation.config.repository.tags.tag(&wanted);
        Error::new(Kind::GateBlocked, format!("there is no release tag {name}"))
            .hint(format!("known releases: {} (--from VERSION)", known.join(", ")))
    })
}

async fn live(invocation: &Invocation, connected: &Connected) -> Result<Live> {
    let config = &invocation.config;
    let images = candidate::running(config, &connected.production.aws, &connected.production.workloads).await?;
    Live::of(config, &connected.production.aws, &connected.git, &images).await
}

fn no_release(live: Result<Live>) -> Error {
    let live = match live {
        Ok(live) => live,
        Err(error) => return error.hint("or name the release to begin from: --from VERSION"),
    };
    let error = Error::new(Kind::GateBlocked, "production does not run one release, so a hotfix has no place to begin");
    let error = live.said.iter().fold(error, |error, (name, said)| error.seen(format!("{name} runs {said}")));
    let error = if live.hotfixed.is_empty() {
        error
    } else {
        error.hint("finish the hotfix that runs first: gospel-release hotfix finish")
    };
    error.hint("or name the release to begin from: gospel-release hotfix start NAME --from VERSION")
}

/// Makes the branch at the base, or finds it there; the work tree is on it afterwards. Whether it was made.
async fn branch_at(
    invocation: &Invocation,
    git: &Git,
    name: &HotfixName,
    base: &CommitSha,
    remote_answers: bool,
) -> Result<bool> {
    let branch = name.branch();
    let there = git.branch(&branch)?;
    if let Some(there) = &there
        && !git.is_ancestor(base, there)?
    {
        return Err(Error::usage(format!(
            "{branch} exists at {}, and does not contain {}",
            there.short(),
            base.short()
        ))
        .hint("choose another name")
        .hint(format!("or, if it is a leftover: git branch -D {branch}")));
    }
    if there.is_none() && remote_answers && !git.remote_refs(&format!("refs/heads/{branch}")).await?.is_empty() {
        return Err(Error::usage(format!("somebody has pushed a {branch} already"))
            .hint(format!("to work on it: git fetch origin {branch} && git switch -c {branch} FETCH_HEAD"))
            .hint("or choose another name"));
    }
    if git.head_branch()?.as_deref() != Some(&branch) && !invocation.dry_run {
        let uncommitted = git.uncommitted().await?;
        if !uncommitted.changed.is_empty() {
            let error = Error::usage("the work tree has changes that no commit has; a hotfix begins clean");
            let error = uncommitted.changed.iter().take(10).fold(error, |error, path| error.seen(path.clone()));
            return Err(error
                .seen("Nothing was changed.")
                .hint("git stash --include-untracked (git stash pop brings it back)")
                .hint("or commit it where it belongs: git commit -a"));
        }
        git.switch(&branch, there.is_none().then_some(base)).await?;
    }
    Ok(there.is_none())
}
