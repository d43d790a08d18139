//! The real `git`, real repositories in temporary directories, file remotes.

use std::path::{Path, PathBuf};

use super::*;
use crate::config::model;
use crate::domain::{CommitSha, Version};
use crate::error::{Class, Kind};
use crate::process::Program;

/// A bare remote `gospelib/gospelib.git` with two commits on main and release v1.0.0, and a clone of it.
struct Bench {
    dir: tempfile::TempDir,
}

async fn git(dir: &Path, args: &[&str]) -> String {
    let finished = Program::new("git")
        .args(["-c", "user.name=Dana", "-c", "user.email=dana@example.com", "-c", "init.defaultBranch=main"])
        .args(["-c", "tag.gpgSign=false", "-c", "commit.gpgSign=false"])
        .args(args)
        .cwd(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .await
        .unwrap();
    assert!(finished.success(), "git {args:?}: {}", finished.error_text());
    finished.text().trim().to_owned()
}

impl Bench {
    async fn new() -> Self {
        let bench = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(bench.remote()).unwrap();
        git(&bench.remote(), &["init", "--bare", "--quiet", "."]).await;
        git(bench.dir.path(), &["clone", "--quiet", bench.remote().to_str().unwrap(), "work"]).await;
        for (name, value) in [("user.name", "Dana"), ("user.email", "dana@example.com"), ("tag.gpgSign", "false")] {
            git(&bench.work(), &["config", name, value]).await;
        }
        bench.commit("services/gateway/main.go", "one", "feat: begin").await;
        git(&bench.work(), &["tag", "-a", "release/v1.0.0", "-m", "Release v1.0.0"]).await;
        git(&bench.work(), &["push", "--quiet", "origin", "HEAD:main", "release/v1.0.0"]).await;
        bench.commit("overlay/kustomization.yaml", "newTag: a", "chore(deploy): a\n\nGospel-Run: r-1").await;
        git(&bench.work(), &["push", "--quiet", "origin", "HEAD:main"]).await;
        bench
    }

    fn remote(&self) -> PathBuf {
        self.dir.path().join("gospelib/gospelib.git")
    }

    fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    async fn commit(&self, path: &str, content: &str, message: &str) -> CommitSha {
        let file = self.work().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, content).unwrap();
        git(&self.work(), &["add", "."]).await;
        git(&self.work(), &["commit", "--quiet", "-m", message]).await;
        git(&self.work(), &["rev-parse", "HEAD"]).await.parse().unwrap()
    }

    fn open(&self) -> Git {
        Git::open(&model::Repository::default(), &self.work()).unwrap()
    }
}

fn v(text: &str) -> Version {
    text.parse().unwrap()
}

#[tokio::test]
async fn main_and_release_tags_are_fetched_and_local_tags_left_alone() {
    let bench = Bench::new().await;
    let tip: CommitSha = git(&bench.work(), &["rev-parse", "HEAD"]).await.parse().unwrap();
    // A local tag of the same name that stands for something else.
    git(&bench.work(), &["tag", "-f", "release/v1.0.0", "HEAD"]).await;
    let checkout = bench.open();
    checkout.fetch().await.unwrap();
    assert_eq!(checkout.main_tip().unwrap(), tip);
    let tags = checkout.release_tags().unwrap();
    assert_eq!(tags.len(), 1);
    assert_eq!((tags[0].tag.as_str(), tags[0].annotated, &tags[0].version), ("release/v1.0.0", true, &v("1.0.0")));
    assert_ne!(tags[0].commit, tip);
    assert_eq!(checkout.local_tag(&v("1.0.0")).unwrap(), Some((tip.clone(), false)));
    let commits = checkout.commits_between(Some(&tags[0].commit), &tip).unwrap();
    assert_eq!(commits.len(), 1);
    assert_eq!((commits[0].subject.as_str(), commits[0].trailer("Gospel-Run")), ("chore(deploy): a", Some("r-1")));
    assert!(checkout.is_ancestor(&tags[0].commit, &tip).unwrap());
    assert!(!checkout.is_ancestor(&tip, &tags[0].commit).unwrap());
    // A tag that was deleted on the remote is gone after the next fetch.
    git(&bench.remote(), &["tag", "-d", "release/v1.0.0"]).await;
    checkout.fetch().await.unwrap();
    assert!(checkout.release_tags().unwrap().is_empty());
}

#[tokio::test]
async fn files_and_histories_are_read_at_commits() {
    let bench = Bench::new().await;
    let before: CommitSha = git(&bench.work(), &["rev-parse", "HEAD"]).await.parse().unwrap();
    bench.commit("README.md", "x", "docs: readme").await;
    let after = bench.commit("overlay/kustomization.yaml", "newTag: b", "chore(deploy): b").await;
    let checkout = bench.open();
    let file = |commit: &CommitSha| checkout.file_at(commit, "overlay/kustomization.yaml").unwrap().unwrap();
    assert_eq!((file(&before), file(&after)), (b"newTag: a".to_vec(), b"newTag: b".to_vec()));
    assert_eq!(checkout.file_at(&after, "no/such").unwrap(), None);
    assert_eq!(checkout.file_at(&after, "overlay").unwrap(), None);
    assert_eq!(checkout.list_at(&after, "overlay").unwrap(), ["kustomization.yaml"]);
    assert_eq!(checkout.list_at(&after, "").unwrap(), ["README.md"]);
    assert_eq!(checkout.changed_paths(&before, &after).unwrap(), ["README.md", "overlay/kustomization.yaml"]);
    let history = checkout.path_history("overlay/kustomization.yaml", &after, 10).unwrap();
    let seen: Vec<&str> = history.iter().map(|change| change.commit.subject.as_str()).collect();
    assert_eq!(seen, ["chore(deploy): b", "chore(deploy): a"]);
    assert_eq!(history[1].content.as_deref(), Some(b"newTag: a".as_slice()));
    assert_eq!(checkout.expand(&after.as_str()[..8]), Some(after.clone()));
    assert_eq!(checkout.expand("--help"), None);
    let unknown = "1".repeat(40).parse().unwrap();
    assert!(checkout.commit(&unknown).unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_tag_is_made_once_and_pushed_once() {
    let bench = Bench::new().await;
    let checkout = bench.open();
    checkout.fetch().await.unwrap();
    let commit = checkout.main_tip().unwrap();
    // More tags that a push must not take along.
    git(&bench.work(), &["config", "push.followTags", "true"]).await;
    git(&bench.work(), &["tag", "-a", "other", "-m", "other"]).await;
    for _ in 0..2 {
        checkout.create_tag(&v("1.1.0"), &commit, "Release v1.1.0: more\n\n# not a comment\n").await.unwrap();
    }
    assert_eq!(checkout.push_tag(&v("1.1.0")).await.unwrap(), Pushed::New);
    assert_eq!(checkout.push_tag(&v("1.1.0")).await.unwrap(), Pushed::UpToDate);
    let there = checkout.remote_refs("refs/tags/*").await.unwrap();
    let names: Vec<&str> = there.iter().map(|found| found.name.as_str()).collect();
    assert_eq!(names, ["refs/tags/release/v1.0.0", "refs/tags/release/v1.1.0"]);
    assert_eq!(there[1].commit(), commit.as_str());
    assert_ne!(there[1].sha, commit.as_str());
    checkout.fetch().await.unwrap();
    let message = checkout.release_tags().unwrap().pop().unwrap().message.unwrap();
    assert_eq!(message, "Release v1.1.0: more\n\n# not a comment\n");
    let error = checkout.delete_local_tag(&v("1.1.0"), &commit).await.unwrap_err();
    assert!(error.is_conflict());
}

#[tokio::test]
async fn a_release_tag_is_never_moved() {
    let bench = Bench::new().await;
    let checkout = bench.open();
    checkout.fetch().await.unwrap();
    let commit = checkout.main_tip().unwrap();
    // The local tag of v1.0.0 stands for an older commit.
    assert!(checkout.create_tag(&v("1.0.0"), &commit, "again").await.unwrap_err().is_conflict());
    git(&bench.work(), &["tag", "-d", "release/v1.0.0"]).await;
    checkout.create_tag(&v("1.0.0"), &commit, "again").await.unwrap();
    assert!(checkout.push_tag(&v("1.0.0")).await.unwrap_err().is_conflict());
    assert_ne!(checkout.remote_tag(&v("1.0.0")).await.unwrap().unwrap().commit(), commit.as_str());
}

#[tokio::test]
async fn a_tag_that_was_not_pushed_can_be_taken_back() {
    let bench = Bench::new().await;
    let checkout = bench.open();
    checkout.fetch().await.unwrap();
    let commit = checkout.main_tip().unwrap();
    checkout.create_tag(&v("1.1.0"), &commit, "x").await.unwrap();
    let other = "1".repeat(40).parse().unwrap();
    assert!(checkout.delete_local_tag(&v("1.1.0"), &other).await.unwrap_err().is_conflict());
    assert!(checkout.delete_local_tag(&v("1.1.0"), &commit).await.unwrap());
    assert!(!checkout.delete_local_tag(&v("1.1.0"), &commit).await.unwrap());
}

#[tokio::test]
async fn hooks_on_both_sides_are_told_apart() {
    let bench = Bench::new().await;
    let checkout = bench.open();
    checkout.fetch().await.unwrap();
    let commit = checkout.main_tip().unwrap();
    checkout.create_tag(&v("1.1.0"), &commit, "x").await.unwrap();
    let hook = |path: PathBuf, script: &str| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let refusal = "#!/bin/sh\necho 'error: GH013: Repository rule violations found' >&2\nexit 1\n";
    hook(bench.remote().join("hooks/pre-receive"), refusal);
    let error = checkout.push_tag(&v("1.1.0")).await.unwrap_err();
    assert_eq!(error.classified(), Class::Denied, "{error:?}");
    assert!(error.evidence().iter().any(|line| line.contains("GH013")));
    hook(bench.work().join(".git/hooks/pre-push"), "#!/bin/sh\necho tests are red >&2\nexit 1\n");
    let error = checkout.push_tag(&v("1.1.0")).await.unwrap_err();
    assert_eq!(error.classified(), Class::NeedsHuman, "{error:?}");
    assert!(error.what().contains("pre-push hook"));
}

#[tokio::test]
async fn shallow_and_partial_clones_are_refused_with_the_fix() {
    let bench = Bench::new().await;
    let url = format!("file://{}", bench.remote().display());
    git(bench.dir.path(), &["clone", "--quiet", "--depth=1", &url, "shallow"]).await;
    let shallow = Git::open(&model::Repository::default(), &bench.dir.path().join("shallow")).unwrap();
    let error = shallow.ensure_complete().unwrap_err();
    assert!(error.hints()[0].contains("--unshallow"), "{error:?}");
    git(&bench.remote(), &["config", "uploadpack.allowFilter", "true"]).await;
    git(bench.dir.path(), &["clone", "--quiet", "--filter=blob:none", &url, "partial"]).await;
    let refused = match Git::open(&model::Repository::default(), &bench.dir.path().join("partial")) {
        Ok(partial) => partial.ensure_complete().map(|_| ()),
        Err(error) => Err(error),
    };
    assert!(refused.unwrap_err().what().contains("partial clone"));
    let work = bench.open();
    git(&bench.work(), &["checkout", "--quiet", "--detach"]).await;
    assert!(work.ensure_complete().unwrap().detached);
}

#[tokio::test]
async fn what_git2_cannot_open_is_said_clearly() {
    let dir = tempfile::tempdir().unwrap();
    let open = |name: &str| Git::open(&model::Repository::default(), &dir.path().join(name)).unwrap_err();
    std::fs::create_dir(dir.path().join("plain")).unwrap();
    assert!(open("plain").what().contains("not in a Git repository"));
    git(dir.path(), &["init", "--quiet", "--object-format=sha256", "sha256"]).await;
    let error = open("sha256");
    assert!(error.what().contains("SHA-256"), "{error:?}");
    git(dir.path(), &["init", "--quiet", "--ref-format=reftable", "reftable"]).await;
    let error = open("reftable");
    assert!(error.what().contains("reftable"), "{error:?}");
}

#[tokio::test]
async fn another_remote_is_the_wrong_world() {
    let bench = Bench::new().await;
    let open = |config: &model::Repository| Git::open(config, &bench.work()).unwrap();
    let right = model::Repository::default();
    assert!(open(&right).remote_url().await.unwrap().ends_with("gospelib/gospelib.git"));
    let other = model::Repository { slug: "other/gospelib".into(), ..right.clone() };
    assert_eq!(open(&other).remote_url().await.unwrap_err().kind(), Kind::WrongWorld);
    let pinned = model::Repository { url: Some("https://github.com/gospelib/gospelib".into()), ..right.clone() };
    assert_eq!(open(&pinned).remote_url().await.unwrap_err().kind(), Kind::WrongWorld);
    let missing = model::Repository { remote: "upstream".into(), ..right.clone() };
    assert_eq!(open(&missing).remote_url().await.unwrap_err().kind(), Kind::Config);
    // Pushing elsewhere is as wrong as fetching from elsewhere.
    git(&bench.work(), &["remote", "set-url", "--push", "origin", "https://t0ken@github.com/fork/gospelib"]).await;
    let error = open(&right).remote_url().await.unwrap_err();
    assert_eq!(error.kind(), Kind::WrongWorld);
    assert!(!error.what().contains("t0ken"));
    for remote in ["--upload-pack=touch /tmp/x", "-x", "a b"] {
        let config = model::Repository { remote: remote.into(), ..right.clone() };
        assert!(Git::open(&config, &bench.work()).is_err(), "{remote}");
    }
}

#[test]
fn urls_name_the_slug_at_their_end_only() {
    let names = |url: &str| url_names_slug(url, "gospelib/gospelib");
    assert!(names("https://github.com/gospelib/gospelib.git"));
    assert!(names("git@github.com:Gospelib/gospelib"));
    assert!(names("/srv/git/gospelib/gospelib.git/"));
    assert!(!names("https://github.com/evilgospelib/gospelib"));
    assert!(!names("https://github.com/gospelib/gospelib-fork"));
}
