//! What the `git` program prints, read.

use super::network::{Pushed, RemoteRef};
use crate::adapters::http::redacted;
use crate::error::{Class, Error, Result};
use crate::process::Finished;

/// Reads `git ls-remote`'s lines: `<sha> TAB <ref>`, and `<ref>^{}` for what an annotated tag points to. Only refs whose
/// name begins with `prefix` are kept: ls-remote matches patterns at any depth.
pub(super) fn refs(text: &str, prefix: &str) -> Vec<RemoteRef> {
    let mut found: Vec<RemoteRef> = Vec::new();
    for line in text.lines() {
        let Some((sha, name)) = line.split_once('\t') else { continue };
        if !name.starts_with(prefix) {
            continue;
        }
        if let Some(tag) = name.strip_suffix("^{}") {
            if let Some(known) = found.iter_mut().find(|known| known.name == tag) {
                known.peeled = Some(sha.to_owned());
            }
        } else {
            found.push(RemoteRef { name: name.to_owned(), sha: sha.to_owned(), peeled: None });
        }
    }
    found
}

/// One ref's line of `git push --porcelain`: `<flag> TAB <from>:<to> TAB <summary> (<reason>)`.
#[derive(Debug, PartialEq, Eq)]
struct RefLine<'a> {
    flag: char,
    to: &'a str,
    summary: &'a str,
    reason: Option<&'a str>,
}

fn ref_line(line: &str) -> Option<RefLine<'_>> {
    let mut fields = line.splitn(3, '\t');
    let flag = fields.next()?;
    let (_, to) = fields.next()?.rsplit_once(':')?;
    let rest = fields.next()?;
    let mut chars = flag.chars();
    let (flag, None) = (chars.next()?, chars.next()) else { return None };
    let (summary, reason) = match rest.strip_suffix(')').and_then(|rest| rest.split_once(" (")) {
        Some((summary, reason)) => (summary, Some(reason)),
        None => (rest, None),
    };
    Some(RefLine { flag, to, summary, reason })
}

/// What a push of `name` came to.
pub(super) fn pushed(name: &str, finished: &Finished, pre_push_hook: bool) -> Result<Pushed> {
    let text = finished.text();
    let line = text.lines().filter_map(ref_line).find(|line| line.to == name);
    match line {
        Some(RefLine { flag: '*', .. }) if finished.success() => Ok(Pushed::New),
        Some(RefLine { flag: ' ', .. }) if finished.success() => Ok(Pushed::Moved),
        Some(RefLine { flag: '=', .. }) if finished.success() => Ok(Pushed::UpToDate),
        Some(line @ RefLine { flag: '!', .. }) => Err(rejected(name, &line, finished)),
        _ => Err(no_verdict(name, finished, pre_push_hook)),
    }
}

/// The remote, or git itself, refused the ref.
fn rejected(name: &str, line: &RefLine<'_>, finished: &Finished) -> Error {
    let reason = line.reason.unwrap_or(line.summary);
    let said = remote_lines(finished);
    let all = format!("{reason}\n{}", said.join("\n")).to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| all.contains(word));
    let tag = name.starts_with("refs/tags/");
    let (class, hint) = if has(&["cannot lock ref", "failed to update ref", "internal server error", "try again"]) {
        (Class::Transient { retry_after: None }, None)
    } else if has(&["already exists", "non-fast-forward", "fetch first", "stale info", "would clobber"]) {
        (Class::Conflict, tag.then_some("a release tag is never moved: choose the next version"))
    } else if has(&["gh013", "rule violations", "protected", "gh006", "pre-receive hook declined", "hook declined"]) {
        let of_tag = "a rule of the repository forbids this tag: see its rulesets, and whether the tag existed before";
        let of_branch =
            "a rule protects this branch: it is changed by a pull request, or by whoever may bypass the rule";
        (Class::Denied, Some(if tag { of_tag } else { of_branch }))
    } else if has(&["permission", "denied", "not authorized"]) {
        (Class::Denied, Some("the account that pushes needs write access to the repository"))
    } else {
        (Class::Terminal, None)
    };
    let error = Error::outside(format!("the remote refused {name}: {}", redacted(reason))).class(class);
    let error = said.into_iter().fold(error, Error::seen);
    hint.into_iter().fold(error, Error::hint)
}

/// No line about our ref: the hook stopped it before, or the network did.
fn no_verdict(name: &str, finished: &Finished, pre_push_hook: bool) -> Error {
    let said = finished.error_text();
    let declined = said.contains("failed to push some refs") && !said.contains("fatal:");
    if declined && pre_push_hook && !said.contains("remote:") {
        let error = Error::outside(format!("the pre-push hook refused {name}")).class(Class::NeedsHuman);
        return last_lines(finished).into_iter().fold(error, Error::seen);
    }
    failed(&format!("git push {name}"), finished)
}

/// A `git` program that failed: what it said, and whether trying again may help.
pub(super) fn failed(what: &str, finished: &Finished) -> Error {
    let ended = finished.code.map_or("was ended by a signal".to_owned(), |code| format!("ended with {code}"));
    let class = classify(&finished.error_text());
    let error = Error::outside(format!("{what} {ended}")).class(class);
    let error = last_lines(finished).into_iter().fold(error, Error::seen);
    if class == Class::Denied {
        error.hint("check that `git fetch` and `git push` work by hand: SSH key, credential helper, token")
    } else {
        error
    }
}

fn remote_lines(finished: &Finished) -> Vec<String> {
    let text = finished.error_text();
    let lines = text.lines().filter_map(|line| line.strip_prefix("remote:"));
    lines.map(str::trim).filter(|line| !line.is_empty()).map(redacted).take(12).collect()
}

fn last_lines(finished: &Finished) -> Vec<String> {
    finished.last_errors(6).iter().map(|line| redacted(line)).collect()
}

/// How a failure of the `git` program may be answered, by its English words.
pub(super) fn classify(stderr: &str) -> Class {
    const DENIED: [&str; 7] = [
        "permission denied",
        "authentication failed",
        "could not read username",
        "could not read password",
        "returned error: 401",
        "returned error: 403",
        "host key verification failed",
    ];
    const MISSING: [&str; 4] = [
        "repository not found",
        "does not appear to be a git repository",
        "returned error: 404",
        "couldn't find remote ref",
    ];
    const TRANSIENT: [&str; 19] = [
        "could not resolve host",
        "connection reset",
        "connection refused",
        // What curl says of a refused port (git 2.47): "Failed to connect to HOST port N after 0 ms: Couldn't connect to server".
        "failed to connect to",
        "couldn't connect to server",
        "connection timed out",
        "connection closed",
        "operation timed out",
        "timed out",
        "returned error: 429",
        "returned error: 5",
        "early eof",
        "unexpected disconnect",
        "the remote end hung up unexpectedly",
        "rpc failed",
        "empty reply from server",
        "cannot lock ref",
        "unable to create",
        "temporary failure in name resolution",
    ];
    let said = stderr.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if has(&DENIED) {
        Class::Denied
    } else if has(&MISSING) {
        Class::NotFound
    } else if has(&TRANSIENT) {
        Class::Transient { retry_after: None }
    } else {
        Class::Terminal
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TAG: &str = "refs/tags/release/v1.2.0";

    fn run(code: i32, stdout: &str, stderr: &str) -> Finished {
        Finished { code: Some(code), stdout: stdout.into(), stderr: stderr.into() }
    }

    fn line(flag: char, rest: &str) -> String {
        format!("To https://github.com/gospelib/gospelib\n{flag}\t{TAG}:{TAG}\t{rest}\nDone\n")
    }

    #[test]
    fn a_push_is_read() {
        assert_eq!(pushed(TAG, &run(0, &line('*', "[new tag]"), ""), false).unwrap(), Pushed::New);
        assert_eq!(pushed(TAG, &run(0, &line('=', "[up to date]"), ""), false).unwrap(), Pushed::UpToDate);
        let class =
            |rest: &str, stderr: &str| pushed(TAG, &run(1, &line('!', rest), stderr), false).unwrap_err().classified();
        assert_eq!(class("[rejected] (already exists)", ""), Class::Conflict);
        assert_eq!(class("[rejected] (non-fast-forward)", ""), Class::Conflict);
        assert_eq!(
            class("[remote rejected] (cannot lock ref 'refs/tags/x': is at a but expected b)", ""),
            Class::Transient { retry_after: None }
        );
        let gh013 = "remote: error: GH013: Repository rule violations found for refs/tags/release/v1.2.0.\n";
        assert_eq!(class("[remote rejected] (push declined due to repository rule violations)", gh013), Class::Denied);
        assert_eq!(class("[remote rejected] (pre-receive hook declined)", ""), Class::Denied);
        assert_eq!(class("[remote rejected] (something else)", ""), Class::Terminal);
    }

    #[test]
    fn a_hook_that_refuses_needs_a_person() {
        let failed = run(1, "", "tests are red\nerror: failed to push some refs to '/srv/x.git'\n");
        let error = pushed(TAG, &failed, true).unwrap_err();
        assert_eq!(error.classified(), Class::NeedsHuman);
        assert!(error.evidence().iter().any(|line| line == "tests are red"));
        let dead = run(128, "", "fatal: unable to access 'https://t:x@h/': The requested URL returned error: 503\n");
        let error = pushed(TAG, &dead, true).unwrap_err();
        assert!(error.is_transient());
        assert!(!error.evidence().join("").contains("t:x"), "{:?}", error.evidence());
    }

    #[test]
    fn network_failures_are_classified() {
        let transient = Class::Transient { retry_after: None };
        for (text, class) in [
            ("ssh: Could not resolve hostname github.com: Temporary failure in name resolution", transient),
            ("fatal: unable to access 'https://x/': Could not resolve host: x", transient),
            ("error: RPC failed; HTTP 502 curl 22 The requested URL returned error: 502", transient),
            ("fatal: unable to access 'x': The requested URL returned error: 429", transient),
            (
                "git@github.com: Permission denied (publickey).\nfatal: Could not read from remote repository.",
                Class::Denied,
            ),
            ("fatal: could not read Username for 'https://github.com': terminal prompts disabled", Class::Denied),
            ("ERROR: Repository not found.", Class::NotFound),
            ("fatal: bad object", Class::Terminal),
        ] {
            assert_eq!(classify(text), class, "{text}");
        }
    }

    #[test]
    fn peeled_tags_are_joined_and_deeper_matches_dropped() {
        let text = "aaa\trefs/tags/release/v1.1.0\nbbb\trefs/tags/release/v1.1.0^{}\nccc\trefs/tags/release/v1.0.0\n\
                    ddd\trefs/heads/refs/tags/release/v9.0.0\n";
        let found = refs(text, "refs/tags/release/v");
        let commits: Vec<&str> = found.iter().map(RemoteRef::commit).collect();
        assert_eq!(commits, ["bbb", "ccc"]);
    }

    proptest! {
        #[test]
        fn any_output_is_read_without_panic(text in "(\\PC|\t|\n|:|!|\\(|\\)){0,80}", code in -1i32..130) {
            let _ = refs(&text, "refs/");
            let _ = pushed(TAG, &run(code, &text, &text), true);
        }

        #[test]
        fn a_refused_ref_is_never_a_push(reason in "\\PC{0,30}") {
            let refused = run(1, &line('!', &format!("[rejected] ({reason})")), "");
            prop_assert!(pushed(TAG, &refused, false).is_err());
        }
    }
}
