//! Release tags: found, made, and (only before they were pushed) taken back.

use jiff::Timestamp;

use super::checkout::{Git, sha};
use super::network::FETCHED;
use super::objects::{find, time, unreadable};
use crate::domain::{CommitSha, Version};
use crate::error::{Class, Error, Result};

/// A release tag of the remote, as last fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseTag {
    pub version: Version,
    /// Short name: `release/v1.2.0`.
    pub tag: String,
    pub commit: CommitSha,
    /// A tag without an object of its own has no author, no date and no message.
    pub annotated: bool,
    /// `Name <address>`.
    pub tagger: Option<String>,
    pub when: Option<Timestamp>,
    pub message: Option<String>,
}

impl Git {
    /// The release tags of the remote as last fetched, lowest version first.
    pub fn release_tags(&self) -> Result<Vec<ReleaseTag>> {
        let repo = self.repo();
        let glob = format!("{FETCHED}*");
        let references = repo.references_glob(&glob).map_err(|error| unreadable(&glob, &error))?;
        let mut found = Vec::new();
        for reference in references {
            let reference = reference.map_err(|error| unreadable(&glob, &error))?;
            let name = String::from_utf8_lossy(reference.name_bytes()).into_owned();
            let Some(tag) = name.strip_prefix(FETCHED) else { continue };
            let Some(version) = self.tags.version(tag) else { continue };
            let commit = reference.peel_to_commit().map_err(|error| unreadable(&name, &error))?;
            let object = reference.target().and_then(|id| repo.find_tag(id).ok());
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let tagger = object.as_ref().and_then(git2::Tag::tagger);
            found.push(ReleaseTag {
                version,
                tag: tag.to_owned(),
                commit: sha(commit.id()),
                annotated: object.is_some(),
                tagger: tagger.as_ref().map(|who| format!("{} <{}>", text(who.name_bytes()), text(who.email_bytes()))),
                when: tagger.as_ref().map(|who| time(who.when())),
                message: object.as_ref().and_then(git2::Tag::message_bytes).map(text),
            });
        }
        found.sort_by(|a, b| a.version.cmp(&b.version));
        Ok(found)
    }

    /// Makes the annotated release tag of a version at a commit, with the `git` program, so that signing is as configured.
    /// The same tag at the same commit is left as it is.
    ///
    /// # Errors
    /// A conflict when a local tag of that name stands for another commit, or is not annotated.
    pub async fn create_tag(&self, version: &Version, commit: &CommitSha, message: &str) -> Result<()> {
        let tag = self.tags.tag(version);
        if let Some((known, annotated)) = self.local_tag(version)? {
            return if annotated && known == *commit {
                Ok(())
            } else {
                let how = if annotated { "annotated" } else { "not annotated" };
                Err(Error::outside(format!("a local tag {tag} exists at {} ({how})", known.short()))
                    .class(Class::Conflict)
                    .hint(format!("if it was never pushed and is not wanted: git tag -d {tag}")))
            };
        }
        find(&self.repo(), commit)?;
        // The message comes by standard input: a line of it cannot be an option, nor a '#' line a comment.
        let options = ["tag", "-a", "--cleanup=whitespace", "--file=-", &tag, commit.as_str()];
        let finished = self.program().args(options).stdin(message).output().await?;
        if finished.success() {
            return Ok(());
        }
        let error = super::porcelain::failed(&format!("git tag -a {tag}"), &finished);
        let said = finished.error_text();
        Err(if said.contains("tell me who you are") || said.contains("ident name") {
            error.class(Class::NeedsHuman).hint("git config user.name … and git config user.email …")
        } else if said.contains("sign") {
            error.class(Class::NeedsHuman).hint("tag.gpgSign is on and signing failed: unlock the key, then resume")
        } else {
            error
        })
    }

    /// The local tag of a version: its commit, and whether it is annotated.
    pub fn local_tag(&self, version: &Version) -> Result<Option<(CommitSha, bool)>> {
        let name = self.tags.full_ref(version);
        let repo = self.repo();
        match repo.find_reference(&name) {
            Ok(found) => {
                let commit = found.peel_to_commit().map_err(|error| unreadable(&name, &error))?;
                let annotated = found.target().is_some_and(|id| repo.find_tag(id).is_ok());
                Ok(Some((sha(commit.id()), annotated)))
            }
            Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(None),
            Err(error) => Err(unreadable(&name, &error)),
        }
    }

    /// Takes back a local tag that stands for `commit` and never reached the remote. Whether there was one.
    ///
    /// # Errors
    /// A conflict when the remote has the tag, or it stands for another commit: then it is not ours to delete.
    pub async fn delete_local_tag(&self, version: &Version, commit: &CommitSha) -> Result<bool> {
        let tag = self.tags.tag(version);
        let Some((known, _)) = self.local_tag(version)? else { return Ok(false) };
        let conflict = |why: &str| Err(Error::outside(format!("the tag {tag} {why}")).class(Class::Conflict));
        if known != *commit {
            return conflict("stands for another commit");
        }
        if self.remote_tag(version).await?.is_some() {
            return conflict("is on the remote, and stays");
        }
        let name = self.tags.full_ref(version);
        let repo = self.repo();
        let deleted = repo.find_reference(&name).and_then(|mut found| found.delete());
        deleted.map(|()| true).map_err(|error| unreadable(&name, &error))
    }
}
