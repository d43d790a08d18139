//! Where plans are kept: `<state>/<project>/plans/<id>/`, mode 0700, its files 0600. A plan holds secrets.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::domain::RunId;
use crate::domain::provision::{PlanRecord, PlanUse};
use crate::error::{Error, Kind, Result};

/// The plans of a project on this machine.
#[derive(Debug, Clone)]
pub struct Plans(PathBuf);

/// The directory of one plan.
#[derive(Debug, Clone)]
pub struct Kept(PathBuf);

impl Plans {
    /// `state` is the project's state directory.
    #[must_use]
    pub fn of(state: &Path) -> Self {
        Self(state.join("plans"))
    }

    /// Makes the directory of a new plan.
    pub fn make(&self, id: &RunId) -> Result<Kept> {
        Kept::at(&self.0.join(id.as_str()))
    }

    /// The plans that have a record, oldest first. Unreadable entries are passed over.
    #[must_use]
    pub fn all(&self) -> Vec<Kept> {
        let mut all = self.entries();
        all.retain(|kept| kept.record_file().is_file());
        all
    }

    /// Every directory that is named like a plan's, oldest first.
    fn entries(&self) -> Vec<Kept> {
        let Ok(entries) = std::fs::read_dir(&self.0) else { return Vec::new() };
        let mut ids: Vec<RunId> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()?.parse().ok()).collect();
        ids.sort();
        ids.iter().map(|id| self.named(id)).collect()
    }

    /// The plan of that id; its record may not be there.
    #[must_use]
    pub fn named(&self, id: &RunId) -> Kept {
        Kept(self.0.join(id.as_str()))
    }

    fn use_of(&self, hash: &str) -> PathBuf {
        self.0.join("used").join(format!("{hash}.json"))
    }

    /// What used the plan of that hash, if anything did.
    ///
    /// # Errors
    /// The mark is there, and cannot be read.
    pub fn used(&self, hash: &str) -> Result<Option<PlanUse>> {
        let path = self.use_of(hash);
        let failed = || format!("read the mark of a used plan, {}", path.display());
        match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| Error::config(failed()).because(error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::config(failed()).because(error)),
        }
    }

    /// Marks the hash as used, on disk before this returns. A hash is used once: whether Terraform would apply it again is not asked
    /// (<https://github.com/hashicorp/terraform/issues/27721>).
    ///
    /// # Errors
    /// It was used before; the mark cannot be written.
    pub fn mark_used(&self, hash: &str, by: &PlanUse) -> Result<()> {
        let path = self.use_of(hash);
        let dir = self.0.join("used");
        let failed = |error: io::Error| {
            Error::config(format!("write the mark of a used plan, {}", path.display())).because(error)
        };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(failed)?;
        let text = serde_json::to_vec(by)
            .map_err(|error| Error::internal("write the mark of a used plan as JSON").because(error))?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let mut file = match file {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Error::new(Kind::GateBlocked, "another process has just used this plan"));
            }
            other => other.map_err(failed)?,
        };
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed)?;
        // The names must survive a power failure too.
        for dir in [&dir, &self.0] {
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
        }
        Ok(())
    }

    /// Takes the secrets out of every plan but `newest`: an older plan is stale, and its files are not needed any more. Records stay.
    /// A directory without a record, untouched for `idle`, is what a killed plan left: it goes.
    pub fn retire_but(&self, newest: &Kept, idle: Duration) {
        for kept in self.all().iter().filter(|kept| kept.0 != newest.0) {
            kept.forget();
        }
        let touched = |kept: &Kept| kept.0.metadata().and_then(|meta| meta.modified()).ok();
        for kept in self.entries().iter().filter(|kept| kept.0 != newest.0 && !kept.record_file().is_file()) {
            let left = touched(newest).zip(touched(kept)).and_then(|(now, then)| now.duration_since(then).ok());
            if left.is_some_and(|since| since > idle) {
                kept.remove();
            }
        }
    }
}

impl Kept {
    /// Makes a directory for a plan, where there is none.
    pub fn at(dir: &Path) -> Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| {
            Error::config(format!("cannot make the directory {} for the plan", dir.display()))
                .because(error)
                .hint("set XDG_STATE_HOME to a directory that can be written")
        })?;
        Ok(Self(dir.to_owned()))
    }

    /// The plan itself; Terraform writes it.
    #[must_use]
    pub fn plan(&self) -> PathBuf {
        self.0.join("plan.tfplan")
    }

    /// The plan in JSON (`show -json`).
    #[must_use]
    pub fn json(&self) -> PathBuf {
        self.0.join("plan.json")
    }

    fn record_file(&self) -> PathBuf {
        self.0.join("record.json")
    }

    /// An empty file of mode 0600 that only we can read: who writes to it later finds it so.
    pub fn create(path: &Path) -> Result<File> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
        file.map_err(|error| Error::config(format!("write {}", path.display())).because(error))
    }

    /// The plan's file is for its owner alone, whatever mode it was written with.
    pub fn seal(&self) -> Result<()> {
        for path in [self.plan(), self.json()].iter().filter(|path| path.exists()) {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
                .map_err(|error| Error::config(format!("set the mode of {}", path.display())).because(error))?;
        }
        Ok(())
    }

    /// Writes the record, whole or not at all.
    pub fn write(&self, record: &PlanRecord) -> Result<()> {
        let failed = |error: io::Error| Error::config(format!("write {}", self.record_file().display())).because(error);
        let text = serde_json::to_vec_pretty(record)
            .map_err(|error| Error::internal("write the plan's record as JSON").because(error))?;
        let draft = self.0.join("record.json.new");
        let mut file = Self::create(&draft)?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed)?;
        std::fs::rename(&draft, self.record_file()).map_err(failed)
    }

    /// Reads the record.
    ///
    /// # Errors
    /// It is not there, not whole, or in a newer form.
    pub fn record(&self) -> Result<PlanRecord> {
        let path = self.record_file();
        let failed = || format!("read the plan's record {}", path.display());
        let text = std::fs::read(&path).map_err(|error| Error::config(failed()).because(error))?;
        let value: serde_json::Value =
            serde_json::from_slice(&text).map_err(|error| Error::config(failed()).because(error))?;
        if value["v"].as_u64().is_some_and(|form| form > u64::from(PlanRecord::FORM)) {
            return Err(Error::new(Kind::Config, failed()).because("it was written by a newer gospel-release"));
        }
        serde_json::from_value(value).map_err(|error| Error::config(failed()).because(error))
    }

    /// Removes the plan and its JSON; the record stays.
    pub fn forget(&self) {
        for path in [self.plan(), self.json()] {
            // Not there any more is what is wanted.
            let _ = std::fs::remove_file(path);
        }
    }

    /// Removes everything.
    pub fn remove(&self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// SHA-256 of a file, in hexadecimal; `None` where there is no such file.
pub fn sha256(path: &Path) -> Result<Option<String>> {
    let failed = |error: io::Error| Error::config(format!("read {}", path.display())).because(error);
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let (mut hash, mut buffer) = (Sha256::new(), vec![0_u8; 64 * 1024]);
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    Ok(Some(format!("{:x}", hash.finalize())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_for_their_owner_and_older_plans_lose_theirs() {
        let dir = tempfile::tempdir().unwrap();
        let plans = Plans::of(dir.path());
        let record = |id: &str| PlanRecord {
            v: 1,
            id: id.parse().unwrap(),
            made: "2025-03-04T09:00:00Z".parse().unwrap(),
            by: "dana@desk".into(),
            program: "terraform".into(),
            version: "1.11.4".into(),
            directory: "infra".into(),
            workspace: "default".into(),
            plan_sha256: "00".into(),
            json_sha256: "01".into(),
            lock_sha256: None,
            account: None,
            commit: None,
            uncommitted: false,
            state: None,
            changes: true,
            confirm: Vec::new(),
            denied: Vec::new(),
        };
        let ids = ["20250304-090000-aaaa", "20250304-100000-bbbb"];
        for id in ids {
            let kept = plans.make(&id.parse().unwrap()).unwrap();
            std::fs::write(kept.plan(), "plan").unwrap();
            drop(Kept::create(&kept.json()).unwrap());
            kept.seal().unwrap();
            kept.write(&record(id)).unwrap();
        }
        let all = plans.all();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!([mode(&all[0].plan()), mode(&all[0].json()), mode(&all[0].record_file())], [0o600; 3]);
        assert_eq!(mode(&all[0].0), 0o700);
        let left = |id: &str| plans.make(&id.parse().unwrap()).unwrap();
        let (killed, running) = (left("20250304-093000-cccc"), left("20250304-103000-dddd"));
        let long_ago = killed.0.metadata().unwrap().modified().unwrap() - Duration::from_secs(7200);
        File::open(&killed.0).unwrap().set_modified(long_ago).unwrap();
        plans.retire_but(&all[1], Duration::from_secs(3600));
        assert!(!killed.0.exists() && running.0.exists());
        assert!(!all[0].plan().exists() && !all[0].json().exists() && all[1].plan().exists());
        assert_eq!(all[0].record().unwrap(), record(ids[0]));
        let hash = sha256(&all[1].plan()).unwrap().unwrap();
        assert_eq!(hash, "64879f7d6b960a01909762d911a32d4582c20010c5641ee90278b644a9e3b525");
        assert_eq!(sha256(&dir.path().join("none")).unwrap(), None);
        let by = PlanUse {
            v: 1,
            plan: ids[0].parse().unwrap(),
            run: ids[1].parse().unwrap(),
            at: "2025-03-04T09:00:00Z".parse().unwrap(),
            by: "dana@desk".into(),
        };
        assert_eq!(plans.used(&hash).unwrap(), None);
        plans.mark_used(&hash, &by).unwrap();
        assert_eq!(plans.used(&hash).unwrap(), Some(by.clone()));
        assert_eq!(plans.mark_used(&hash, &by).unwrap_err().kind(), Kind::GateBlocked);
        assert_eq!(plans.all().len(), 2);
        std::fs::write(all[1].record_file(), r#"{"v": 2}"#).unwrap();
        assert!(format!("{:?}", all[1].record().unwrap_err()).contains("newer gospel-release"));
    }
}
