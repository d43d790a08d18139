//! A kept plan before it is applied: whether it is still what was reviewed, and the world still what it was made for.

use std::time::Duration;

use jiff::Timestamp;

use crate::adapters::terraform::Terraform;
use crate::domain::provision::{PlanRecord, StateId};
use crate::domain::{duration, printable};
use crate::error::{Error, Kind, Result};
use crate::ops::Invocation;

use super::plan::{Place, account, plans};
use super::store::{Kept, Plans, sha256};

/// Characters of a hash that name a plan.
const SHORTEST: usize = 8;
/// The command that makes another plan.
pub(super) const PLAN_AGAIN: &str = "gospel-release provision plan";

/// A plan that was chosen, and what it is compared with.
#[derive(Debug)]
pub(super) struct Reviewed {
    pub kept: Kept,
    pub record: PlanRecord,
    pub plans: Plans,
    pub terraform: Terraform,
    pub place: Place,
    age: Duration,
    directory: String,
}

/// The plan that is meant: by its hash, by its id, or the newest.
///
/// # Errors
/// There is none, or more than one.
pub(super) fn choose(plans: &Plans, asked: Option<&str>) -> Result<(Kept, PlanRecord)> {
    let kept = plans.all();
    let Some(last) = kept.last().cloned() else {
        return Err(Error::usage("no plan is kept on this machine").hint(PLAN_AGAIN));
    };
    // A record that cannot be read names no plan.
    let records = kept.into_iter().filter_map(|kept| kept.record().ok().map(|record| (kept, record)));
    let Some(asked) = asked else {
        // By time: the ids of one second have no order.
        let newest = records.max_by_key(|(_, record)| record.made);
        return newest.map_or_else(|| last.record().map(|record| (last.clone(), record)), Ok);
    };
    let asked_hash = asked.to_ascii_lowercase();
    let hash = |record: &PlanRecord| asked.len() >= SHORTEST && record.plan_sha256.starts_with(&asked_hash);
    let mut found: Vec<_> = records.filter(|(_, record)| record.id.as_str() == asked || hash(record)).collect();
    found.sort_by_key(|(_, record)| record.made);
    // Plans of one second may be the same bytes: then they are one plan.
    if found.iter().any(|(_, record)| record.plan_sha256 != found[0].1.plan_sha256) {
        let ids = found.iter().map(|(_, record)| format!("{} is {}", record.plan_sha256, record.id));
        let error = Error::usage(format!("{} names more than one plan", printable(asked)));
        return Err(ids.fold(error, Error::seen));
    }
    found.pop().ok_or_else(|| {
        let short = asked.len() < SHORTEST && asked.bytes().all(|byte| byte.is_ascii_hexdigit());
        let what = format!("no plan that is kept on this machine is called {}", printable(asked));
        let what = if short { format!("{what}; a hash takes {SHORTEST} characters or more") } else { what };
        Error::usage(what).hint(PLAN_AGAIN)
    })
}

impl Reviewed {
    /// Finds the program and the directory of a plan.
    pub async fn of(invocation: &Invocation, kept: Kept, record: PlanRecord) -> Result<Self> {
        let settings = &invocation.config.provision;
        let place = Place::find(invocation)?;
        let profile = invocation.config.production.aws.profile.as_deref();
        let terraform = Terraform::find(settings, &place.dir, profile).await?;
        let (age, directory) = (settings.plan_age, settings.directory.clone());
        Ok(Self { kept, record, plans: plans(invocation)?, terraform, place, age, directory })
    }

    /// What can be told without asking anybody: the plan is there, as it was made, unused, young enough, and allowed.
    ///
    /// # Errors
    /// [`Kind::GateBlocked`], or [`Kind::Config`] for a file that was changed.
    pub fn usable(plans: &Plans, kept: &Kept, record: &PlanRecord) -> Result<()> {
        let called = format!("plan {} ({})", record.short(), record.id);
        if let Some(used) = plans.used(&record.plan_sha256)? {
            let at = used.at.strftime("%F %H:%M UTC");
            return Err(blocked(format!("{called} was applied at {at} by {} in run {}", used.by, used.run))
                .seen("A plan is applied once, however it ended."));
        }
        let Some(hash) = sha256(&kept.plan())? else {
            return Err(blocked(format!("{called} gave way to a newer one: its file is not kept any more")));
        };
        let json = sha256(&kept.json())?.unwrap_or_default();
        for (file, seen, made) in [("plan.tfplan", hash, &record.plan_sha256), ("plan.json", json, &record.json_sha256)]
        {
            if seen != *made {
                return Err(Error::config(format!("{file} of {called} was changed after it was made"))
                    .seen(format!("made: sha256 {made}"))
                    .seen(format!("now:  sha256 {seen}"))
                    .hint(PLAN_AGAIN));
            }
        }
        if !record.denied.is_empty() {
            let error = Error::new(Kind::GateBlocked, format!("{called} was refused when it was judged"));
            let error = record.denied.iter().take(20).cloned().fold(error, Error::seen);
            return Err(error
                .hint("correct the configuration, or decide otherwise in provision.policy and provision.budget")
                .hint(PLAN_AGAIN));
        }
        Ok(())
    }

    /// Everything again that may have become otherwise since the plan was made; the last is what others may change at any moment.
    ///
    /// # Errors
    /// [`Kind::GateBlocked`], [`Kind::WrongWorld`] for another workspace, [`Kind::Config`] for a file that was changed.
    pub async fn still_fits(&self, now: Timestamp) -> Result<()> {
        Self::usable(&self.plans, &self.kept, &self.record)?;
        self.young(now)?;
        let differs = self.differences().await?;
        if !differs.is_empty() {
            let error = blocked(format!("plan {} was made for something else", self.record.short()));
            return Err(differs.into_iter().fold(error, Error::seen));
        }
        let (workspace, planned) = (self.terraform.workspace().await?, &self.record.workspace);
        if workspace != *planned {
            return Err(Error::new(Kind::WrongWorld, format!("the workspace is {workspace}; {planned} was planned"))
                .hint(format!("select it: terraform workspace select {planned}"))
                .hint(PLAN_AGAIN));
        }
        let state = self.terraform.state().await?;
        if state != self.record.state {
            return Err(blocked(format!("plan {} is stale: the state is not what it was", self.record.short()))
                .seen(format!("planned: {}", state_said(self.record.state.as_ref())))
                .seen(format!("now:     {}", state_said(state.as_ref()))));
        }
        Ok(())
    }

    /// # Errors
    /// [`Kind::WrongWorld`] where the credentials are of another account than the plan was made with.
    pub async fn same_account(&self, invocation: &Invocation) -> Result<()> {
        let now = account(invocation).await?;
        if now == self.record.account {
            return Ok(());
        }
        let said = |account: &Option<String>| account.as_ref().map_or("none pinned".to_owned(), Clone::clone);
        Err(Error::new(Kind::WrongWorld, format!("plan {} was made for another AWS account", self.record.short()))
            .seen(format!("planned: {}", said(&self.record.account)))
            .seen(format!("now:     {}", said(&now)))
            .hint(PLAN_AGAIN))
    }

    fn young(&self, now: Timestamp) -> Result<()> {
        let short = self.record.short();
        match Duration::try_from(now.duration_since(self.record.made)) {
            Ok(age) if age > self.age => Err(blocked(format!(
                "plan {short} is {} old, and may be {} (provision.plan_age)",
                duration(age),
                duration(self.age)
            ))),
            Ok(_) => Ok(()),
            // It cannot be told how old it is: the clock was set back.
            Err(_) => Err(blocked(format!("plan {short} was made at {}, which is yet to come", self.record.made))),
        }
    }

    /// What is not as it was planned, in a line each.
    async fn differences(&self) -> Result<Vec<String>> {
        let record = &self.record;
        let none = || "none".to_owned();
        let short = |hash: Option<&String>| hash.map_or_else(none, |hash| hash.chars().take(12).collect());
        let lock = sha256(&self.terraform.lock_file())?;
        let commit = self.place.commit()?;
        let said = |uncommitted: bool| if uncommitted { "uncommitted changes" } else { "everything committed" };
        let rows = [
            ("directory", record.directory.clone(), self.directory.clone()),
            ("program", record.program.clone(), self.terraform.program().to_owned()),
            ("version", record.version.clone(), self.terraform.version().to_string()),
            (".terraform.lock.hcl", short(record.lock_sha256.as_ref()), short(lock.as_ref())),
            (
                "commit",
                record.commit.as_ref().map_or_else(none, |commit| commit.short().to_owned()),
                commit.as_ref().map_or_else(none, |commit| commit.short().to_owned()),
            ),
            ("files", said(record.uncommitted).to_owned(), said(self.place.uncommitted().await?).to_owned()),
        ];
        let differ = rows.into_iter().filter(|(_, planned, now)| planned != now);
        Ok(differ.map(|(what, planned, now)| format!("{what}: planned {planned}, now {now}")).collect())
    }
}

fn blocked(what: impl Into<String>) -> Error {
    Error::new(Kind::GateBlocked, what).hint(PLAN_AGAIN)
}

/// `serial 12 of 1f1c2d3e…`.
pub(super) fn state_said(state: Option<&StateId>) -> String {
    state.map_or("no state".to_owned(), |state| {
        format!("serial {} of {}", state.serial, state.lineage.chars().take(8).collect::<String>())
    })
}
