//! "All CI checks pass": every check of the candidate's commit, and those that must exist.

use crate::adapters::github::{CheckRun, Checks, GitHub, Outcome, Required};
use crate::config::model::Gates;
use crate::domain::{CommitSha, Evidence, Verdict, count, printable};
use crate::engine::{BoxFuture, Checked, Facts, Gate, StepIo};
use crate::error::Result;

use super::words::{candidate, checks_page, some};

/// Reads check runs and statuses both: the combined status omits check runs.
pub struct Ci {
    pub github: GitHub,
    /// The branch whose rules say what is required.
    pub branch: String,
    pub limits: Gates,
}

impl Gate for Ci {
    fn id(&self) -> &'static str {
        "ci"
    }

    fn title(&self) -> String {
        "All CI checks pass".into()
    }

    fn check<'a>(&'a self, facts: &'a Facts, io: &'a StepIo) -> BoxFuture<'a, Result<Checked>> {
        Box::pin(async {
            let commit = match candidate(facts) {
                Ok(candidate) => &candidate.commit,
                Err(unknown) => return Ok(*unknown),
            };
            let (checks, required) =
                futures::try_join!(self.github.checks(commit), self.github.required_checks(&self.branch))?;
            let mut checked = judge(commit, &checks, &required, &self.limits);
            checked.evidence = checked.evidence.from(format!("GitHub checks of {}", commit.short())).at(io.now());
            if checked.evidence.link.is_none() {
                let beside = checks.runs.iter().find_map(|run| run.url.as_deref());
                checked.evidence.link = Some(checks_page(self.github.slug(), commit, beside));
            }
            Ok(checked)
        })
    }
}

/// One report on the commit, run or status.
struct Report<'a> {
    name: &'a str,
    /// What people are told: with its workflow, where another one has a job of that name. Printable.
    shown: String,
    /// Where it comes from; the app of a status is not told.
    app: Option<i64>,
    by: &'a str,
    outcome: Outcome,
    word: &'a str,
    url: Option<&'a str>,
}

struct Must<'a> {
    name: &'a str,
    app: Option<i64>,
    from: &'a str,
}

/// The verdict. Zero checks are not a pass; a required check that is missing, skipped or (unless configured) neutral is none.
pub(super) fn judge(commit: &CommitSha, checks: &Checks, required: &Required, limits: &Gates) -> Checked {
    let reports = reports(checks);
    let must = must(required, limits);
    let mut evidence = Evidence::default();
    let (mut failed, mut pending, mut met) = (Vec::new(), Vec::new(), 0);
    let mut link = None;
    for report in &reports {
        let named = |must: &&Must| must.name == report.name && must.app.is_none_or(|app| report.app == Some(app));
        let required = must.iter().any(|must| named(&must));
        let ok = match report.outcome {
            Outcome::Success => Some(true),
            Outcome::Pending | Outcome::Failed => Some(false),
            Outcome::Neutral if required => Some(limits.neutral_passes),
            Outcome::Skipped if required => Some(false),
            Outcome::Neutral | Outcome::Skipped => None,
        };
        let name = report.shown.clone();
        let word = printable(report.word);
        if ok == Some(false) {
            link = link.or(report.url);
            match report.outcome {
                Outcome::Pending => pending.push(name.clone()),
                Outcome::Skipped | Outcome::Neutral => failed.push(format!("{name} (required, but {word})")),
                _ => failed.push(format!("{name} ({word})")),
            }
        }
        let kind = if required { "required" } else { "not required" };
        evidence = evidence.fact(name, format!("{word}, {kind}, by {}", printable(report.by)), ok);
    }
    for must in &must {
        let fits = |report: &&Report| {
            // A status does not tell its app: where nothing else reports, it is taken, as GitHub itself may.
            must.name == report.name && must.app.is_none_or(|app| report.app.is_none_or(|by| by == app))
        };
        if reports.iter().any(|report| fits(&report)) {
            met += 1;
        } else {
            failed.push(format!("{} (required, but it never reported)", printable(must.name)));
            evidence = evidence.fact(printable(must.name), format!("missing; required by {}", must.from), false);
        }
    }
    for unknown in &required.unknown {
        evidence = evidence.fact("required checks", printable(unknown), None);
    }
    evidence.link = link.map(str::to_owned);
    let commit = commit.short();
    // Rules that cannot be read may require more; what the configuration requires stands in for them.
    let blind = !required.unknown.is_empty() && limits.required_checks.is_empty();
    // Skipped jobs are all that some workflows leave on a commit: nobody has tested it.
    let counts = |report: &Report| match report.outcome {
        Outcome::Success => true,
        Outcome::Neutral => limits.neutral_passes,
        _ => false,
    };
    let ran = reports.iter().any(counts);
    let (verdict, summary, fix) = if reports.is_empty() {
        let fix = format!("run the CI of {commit} (gh workflow run), or release a build whose checks ran");
        (Verdict::Unknown, format!("no check has reported on {commit}; that is not a pass"), fix)
    } else if let Some(why) = checks.unclear.as_ref().filter(|_| !failed.is_empty() || !pending.is_empty()) {
        let fix = "let the token read the repository's workflow runs (actions: read), then check again";
        let open = some(&[failed, pending].concat());
        let said = format!("{open} on {commit}, and whether a later run of the same workflow passed cannot be read");
        (Verdict::Unknown, format!("{said}: {}", printable(why)), fix.to_owned())
    } else if !failed.is_empty() {
        let fix = format!("make {} pass on {commit}, or release a build on which they pass", some(&names(&failed)));
        (Verdict::Fail, format!("{} on {commit}: {}", no_pass(failed.len()), some(&failed)), fix)
    } else if !pending.is_empty() {
        let fix = format!("wait for {}, then check again", some(&pending));
        (Verdict::Fail, format!("{} on {commit} not finished: {}", count(pending.len(), "check"), some(&pending)), fix)
    } else if blind {
        let fix = "let the token read the rules of the branch, or name the checks in gates.required_checks";
        (Verdict::Unknown, format!("which checks main requires cannot be read ({commit})"), fix.to_owned())
    } else if !ran {
        let fix = format!("run the CI of {commit} (gh workflow run), or release a build whose checks ran");
        (Verdict::Unknown, format!("every check on {commit} was skipped or neutral; that is not a pass"), fix)
    } else {
        let asked =
            if must.is_empty() { "none is required".into() } else { format!("{met} of {} required", must.len()) };
        (Verdict::Pass, format!("{} passed on {commit} ({asked})", count(reports.len(), "check")), String::new())
    };
    evidence.summary = summary;
    match verdict {
        Verdict::Pass => Checked::pass(evidence),
        Verdict::Unknown => Checked::unknown(evidence).fix(fix),
        _ => Checked::fail(evidence).fix(fix),
    }
}

fn no_pass(n: usize) -> String {
    if n == 1 { "1 check does not pass".into() } else { format!("{n} checks do not pass") }
}

/// Names without the word in brackets.
fn names(failed: &[String]) -> Vec<String> {
    failed.iter().map(|said| said.rsplit_once(" (").map_or(said.as_str(), |(name, _)| name).to_owned()).collect()
}

fn reports(checks: &Checks) -> Vec<Report<'_>> {
    let shown = |run: &CheckRun| match &run.workflow {
        Some(workflow) if checks.runs.iter().any(|other| other.name == run.name && other.id != run.id) => {
            printable(&format!("{} of {}", run.name, workflow.file))
        }
        _ => printable(&run.name),
    };
    let runs = checks.runs.iter().map(|run| Report {
        name: &run.name,
        shown: shown(run),
        app: run.app_id,
        by: if run.app.is_empty() { "an unknown app" } else { &run.app },
        outcome: run.outcome(),
        word: run.word(),
        url: run.url.as_deref(),
    });
    let statuses = checks.statuses.iter().map(|status| Report {
        name: &status.context,
        shown: printable(&status.context),
        app: None,
        by: "commit status",
        outcome: status.outcome(),
        word: &status.state,
        url: status.url.as_deref(),
    });
    runs.chain(statuses).collect()
}

fn must<'a>(required: &'a Required, limits: &'a Gates) -> Vec<Must<'a>> {
    let rules = required.checks.iter().map(|check| Must { name: &check.context, app: check.app_id, from: &check.from });
    let mut must: Vec<Must> = rules.collect();
    for name in &limits.required_checks {
        if !must.iter().any(|must| must.name == name) {
            must.push(Must { name, app: None, from: "the configuration" });
        }
    }
    must
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::github::{RequiredCheck, Status, Workflow};

    fn run(name: &str, conclusion: Option<&str>) -> CheckRun {
        CheckRun {
            id: 1,
            name: name.into(),
            app: "github-actions".into(),
            app_id: Some(15368),
            status: if conclusion.is_some() { "completed" } else { "in_progress" }.into(),
            conclusion: conclusion.map(Into::into),
            started: None,
            completed: None,
            url: Some(format!("https://ci/{name}")),
            suite: None,
            workflow: None,
        }
    }

    #[test]
    fn jobs_of_one_name_are_told_apart_by_their_workflows() {
        let of = |id, file: &str, conclusion| CheckRun {
            id,
            workflow: Some(Workflow { id, file: file.into() }),
            ..run("ci / unit", Some(conclusion))
        };
        let runs = vec![of(1, "nightly.yml", "failure"), of(2, "ci.yml", "success")];
        let checked = judged(runs, &required(&["ci / unit"]), &Gates::default());
        assert_eq!(checked.verdict, Verdict::Fail);
        assert_eq!(checked.evidence.summary, "1 check does not pass on a1b2c3d: ci / unit of nightly.yml (failure)");
        let alone = judged(vec![of(2, "ci.yml", "failure")], &required(&[]), &Gates::default());
        assert!(alone.evidence.summary.ends_with("ci / unit (failure)"), "{}", alone.evidence.summary);
    }

    fn required(names: &[&str]) -> Required {
        let check =
            |name: &&str| RequiredCheck { context: (*name).into(), app_id: Some(15368), from: "ruleset 1".into() };
        Required { checks: names.iter().map(check).collect(), unknown: Vec::new() }
    }

    fn judged(runs: Vec<CheckRun>, required: &Required, limits: &Gates) -> Checked {
        let commit: CommitSha = "a1b2c3d4e5f60718293a4b5c6d7e8f9001122334".parse().unwrap();
        judge(&commit, &Checks { runs, ..Checks::default() }, required, limits)
    }

    #[test]
    fn a_failure_that_may_have_been_mended_is_unknown_and_no_pass() {
        let commit: CommitSha = "a1b2c3d4e5f60718293a4b5c6d7e8f9001122334".parse().unwrap();
        let verdict = |first| {
            let runs = vec![run("ci / unit", Some(first)), run("ci / unit", Some("success"))];
            let checks = Checks { runs, unclear: Some("GitHub answered 403".into()), ..Checks::default() };
            judge(&commit, &checks, &required(&["ci / unit"]), &Gates::default()).verdict
        };
        // Where every suite passed, there is nothing to be told.
        assert_eq!((verdict("failure"), verdict("success")), (Verdict::Unknown, Verdict::Pass));
    }

    #[test]
    fn all_green_is_a_pass() {
        let runs = vec![run("ci / unit", Some("success")), run("docs", Some("skipped"))];
        let checked = judged(runs, &required(&["ci / unit"]), &Gates::default());
        assert_eq!(checked.verdict, Verdict::Pass);
        assert_eq!(checked.evidence.summary, "2 checks passed on a1b2c3d (1 of 1 required)");
        assert!(checked.fix.is_none());
    }

    #[test]
    fn zero_checks_are_not_a_pass() {
        let checked = judged(Vec::new(), &required(&["ci / unit"]), &Gates::default());
        assert_eq!(checked.verdict, Verdict::Unknown);
        assert!(checked.fix.unwrap().contains("a1b2c3d"));
    }

    #[test]
    fn checks_that_were_all_skipped_are_not_a_pass() {
        let runs = || vec![run("ci / unit", Some("skipped")), run("docs", Some("neutral"))];
        assert_eq!(judged(runs(), &required(&[]), &Gates::default()).verdict, Verdict::Unknown);
        let lenient = Gates { neutral_passes: true, ..Gates::default() };
        assert_eq!(judged(runs(), &required(&[]), &lenient).verdict, Verdict::Pass);
    }

    #[test]
    fn a_required_check_that_never_reported_fails() {
        let checked = judged(vec![run("ci / lint", Some("success"))], &required(&["ci / unit"]), &Gates::default());
        assert_eq!(checked.verdict, Verdict::Fail);
        let said = "1 check does not pass on a1b2c3d: ci / unit (required, but it never reported)";
        assert_eq!(checked.evidence.summary, said);
        assert_eq!(
            checked.fix.as_deref(),
            Some("make ci / unit pass on a1b2c3d, or release a build on which they pass")
        );
    }

    #[test]
    fn a_skipped_or_neutral_required_check_is_no_success() {
        let all = required(&["ci / unit"]);
        for word in ["skipped", "neutral"] {
            let checked = judged(vec![run("ci / unit", Some(word))], &all, &Gates::default());
            assert_eq!(checked.verdict, Verdict::Fail, "{word}");
            assert!(checked.evidence.summary.ends_with(&format!("ci / unit (required, but {word})")));
        }
        let lenient = Gates { neutral_passes: true, ..Gates::default() };
        assert_eq!(judged(vec![run("ci / unit", Some("neutral"))], &all, &lenient).verdict, Verdict::Pass);
        assert_eq!(judged(vec![run("ci / unit", Some("skipped"))], &all, &lenient).verdict, Verdict::Fail);
    }

    #[test]
    fn a_failure_that_is_not_required_fails_too_and_is_linked() {
        let runs = vec![run("ci / unit", Some("success")), run("codecov", Some("failure"))];
        let checked = judged(runs, &required(&["ci / unit"]), &Gates::default());
        assert_eq!(checked.verdict, Verdict::Fail);
        assert_eq!(checked.evidence.link.as_deref(), Some("https://ci/codecov"));
    }

    #[test]
    fn pending_checks_are_named() {
        let runs = vec![run("ci / unit", None), run("ci / lint", Some("success"))];
        let checked = judged(runs, &required(&["ci / unit"]), &Gates::default());
        assert_eq!(checked.verdict, Verdict::Fail);
        assert_eq!(checked.fix.as_deref(), Some("wait for ci / unit, then check again"));
    }

    #[test]
    fn another_apps_run_does_not_satisfy_a_pinned_check() {
        let mut forged = run("ci / unit", Some("success"));
        forged.app_id = Some(7);
        let checked = judged(vec![forged], &required(&["ci / unit"]), &Gates::default());
        assert_eq!(checked.verdict, Verdict::Fail);
    }

    #[test]
    fn statuses_count_as_well_as_runs() {
        let commit: CommitSha = "a1b2c3d4e5f60718293a4b5c6d7e8f9001122334".parse().unwrap();
        let status =
            |state: &str| Status { id: 1, context: "ci / unit".into(), state: state.into(), url: None, at: None };
        let verdict = |state| {
            let runs = vec![run("x", Some("success"))];
            let checks = Checks { runs, statuses: vec![status(state)], unclear: None };
            judge(&commit, &checks, &required(&["ci / unit"]), &Gates::default()).verdict
        };
        assert_eq!((verdict("success"), verdict("error")), (Verdict::Pass, Verdict::Fail));
    }

    #[test]
    fn rules_that_cannot_be_read_are_unknown_unless_the_configuration_says_what_is_required() {
        let blind = Required { checks: Vec::new(), unknown: vec!["branch protection: 403".into()] };
        let runs = || vec![run("ci / unit", Some("success"))];
        assert_eq!(judged(runs(), &blind, &Gates::default()).verdict, Verdict::Unknown);
        let told = Gates { required_checks: vec!["ci / unit".into()], ..Gates::default() };
        assert_eq!(judged(runs(), &blind, &told).verdict, Verdict::Pass);
        let more = Gates { required_checks: vec!["ci / e2e".into()], ..Gates::default() };
        assert_eq!(judged(runs(), &blind, &more).verdict, Verdict::Fail);
    }
}
