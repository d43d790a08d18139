//! How an apply goes: what Terraform says while it works, kept as far as it matters afterwards.

use serde::{Deserialize, Serialize};

use super::{Action, Change};

/// One change that a plan is to make. Beside a run these stand without any value: a plan's own file is a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    pub address: String,
    pub action: Action,
    /// The key of an object that an interrupted replacement left behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deposed: Option<String>,
    /// Nothing but its address changes, or that it is managed.
    #[serde(default)]
    pub only_state: bool,
}

impl Expected {
    /// What applying `changes` is to do, in their order.
    #[must_use]
    pub fn of(changes: &[Change]) -> Vec<Self> {
        let acting = changes.iter().filter(|change| change.action != Action::Read);
        acting
            .map(|change| Self {
                address: change.address.clone(),
                action: change.action,
                deposed: change.deposed.clone(),
                only_state: matches!(change.action, Action::Keep | Action::Forget),
            })
            .collect()
    }
}

/// What is done to one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Doing {
    Create,
    Update,
    Delete,
    /// Anything else that is told: reading a data source, an ephemeral resource.
    Other,
}

impl Doing {
    /// Terraform's word for it.
    #[must_use]
    pub fn of(word: &str) -> Self {
        match word {
            "create" => Self::Create,
            "update" => Self::Update,
            "delete" => Self::Delete,
            _ => Self::Other,
        }
    }

    /// While it goes on: `creating`.
    #[must_use]
    pub const fn now(self) -> &'static str {
        match self {
            Self::Create => "creating",
            Self::Update => "changing",
            Self::Delete => "destroying",
            Self::Other => "reading",
        }
    }

    /// When it is done: `created`.
    #[must_use]
    pub const fn past(self) -> &'static str {
        match self {
            Self::Create => "created",
            Self::Update => "changed",
            Self::Delete => "destroyed",
            Self::Other => "read",
        }
    }
}

/// How far one part has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Came {
    UnderWay,
    Done,
    Failed,
}

/// One thing that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub address: String,
    pub doing: Doing,
    pub came: Came,
    /// The object's own name in the world, where it was told.
    pub id: Option<String>,
    /// How long it took, in whole seconds, where it was told.
    pub seconds: u64,
}

/// Terraform's own count at the end of an apply that succeeded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    pub add: u64,
    pub change: u64,
    pub remove: u64,
    pub import: u64,
}

impl Summary {
    /// `3 created, 1 changed, 1 destroyed`; a replacement is one of each.
    #[must_use]
    pub fn text(&self) -> String {
        let parts =
            [(self.add, "created"), (self.change, "changed"), (self.remove, "destroyed"), (self.import, "imported")];
        let said: Vec<String> =
            parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        if said.is_empty() { "only the state, or its outputs, changed".to_owned() } else { said.join(", ") }
    }
}

/// An apply as far as it was told, in the order in which its parts began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Course {
    pub parts: Vec<Part>,
    /// Set when Terraform came to its end and everything was done.
    pub summary: Option<Summary>,
}

impl Course {
    pub fn began(&mut self, address: &str, doing: Doing, id: Option<String>) {
        let part = Part { address: address.to_owned(), doing, came: Came::UnderWay, id, seconds: 0 };
        self.parts.push(part);
    }

    /// The part that came to its end; one whose beginning was not told is begun by it.
    pub fn ended(&mut self, address: &str, doing: Doing, came: Came, id: Option<String>, seconds: u64) {
        let open = |part: &&mut Part| part.address == address && part.doing == doing && part.came == Came::UnderWay;
        if self.parts.iter_mut().find(open).is_none() {
            self.began(address, doing, None);
        }
        if let Some(part) = self.parts.iter_mut().find(open) {
            part.came = came;
            part.seconds = seconds;
            part.id = id.or_else(|| part.id.take());
        }
    }

    /// What goes on.
    pub fn under_way(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().filter(|part| part.came == Came::UnderWay)
    }

    fn part(&self, address: &str, doing: Doing) -> Option<&Part> {
        self.parts.iter().rev().find(|part| part.address == address && part.doing == doing)
    }

    /// Whether a change is made, as far as was told. What concerns the state alone is not told.
    fn made(&self, expected: &Expected) -> bool {
        let done = |doing| self.part(&expected.address, doing).is_some_and(|part| part.came == Came::Done);
        match expected.action {
            Action::Create => done(Doing::Create),
            Action::Update => done(Doing::Update),
            Action::Destroy => done(Doing::Delete),
            Action::Replace => done(Doing::Create) && done(Doing::Delete),
            _ => false,
        }
    }

    /// How many of the changes are made, of those that are told.
    #[must_use]
    pub fn progress(&self, expected: &[Expected]) -> (usize, usize) {
        let told = expected.iter().filter(|one| !one.only_state);
        told.fold((0, 0), |(made, all), one| (made + usize::from(self.made(one)), all + 1))
    }
}

/// What a state holds of one address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holding {
    pub address: String,
    /// There is a current object.
    pub current: bool,
    /// It is to be replaced by the next plan.
    pub tainted: bool,
    /// Keys of objects that an interrupted replacement left behind.
    pub deposed: Vec<String>,
}

/// What became of one change of an apply that did not come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// The state marks it: the next plan replaces it.
    Tainted,
    /// It was made, and the state does not hold it.
    Unrecorded,
    /// It was begun, and the state does not hold it.
    Lost,
    /// It is in the state as if it were whole, and its making was not told to have ended.
    Doubtful,
    /// It failed, and what it was to change is as it was, or half of it.
    Failed,
    /// An object that is to be destroyed is still there.
    LeftBehind,
    /// Nothing was done to it.
    NotBegun,
    Made,
}

impl Fate {
    /// What it means, for people.
    #[must_use]
    pub const fn said(self) -> &'static str {
        match self {
            Self::Tainted => "tainted: there, and not whole; the next plan replaces them",
            Self::Unrecorded => "made, and not in the state: import them, or remove them by hand",
            Self::Lost => "begun, and not in the state: look whether they are there",
            Self::Doubtful => "begun, and not told to have ended; the state takes them for whole",
            Self::Failed => "failed",
            Self::LeftBehind => "replaced, and the old one is still there; the next plan destroys it",
            Self::NotBegun => "not begun",
            Self::Made => "made",
        }
    }
}

/// What became of one expected change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Became {
    pub address: String,
    pub action: Action,
    pub fate: Fate,
    /// The object's own name in the world, where it was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// Tells what became of each change, from what Terraform said and from what the state holds now.
///
/// The state alone cannot tell an update from none, nor what was made and not recorded; the events alone say nothing about what
/// was written.
#[must_use]
pub fn became(expected: &[Expected], course: &Course, state: &[Holding]) -> Vec<Became> {
    expected.iter().map(|one| one_became(one, course, state)).collect()
}

fn one_became(expected: &Expected, course: &Course, state: &[Holding]) -> Became {
    let none = Holding::default();
    let holding = state.iter().find(|holding| holding.address == expected.address).unwrap_or(&none);
    let came = |doing| course.part(&expected.address, doing).map(|part| part.came);
    let (created, updated, deleted) = (came(Doing::Create), came(Doing::Update), came(Doing::Delete));
    let deposed = |key: &String| holding.deposed.contains(key);
    let fate = match expected.action {
        _ if holding.tainted && created.is_some() => Fate::Tainted,
        Action::Destroy if expected.deposed.is_some() => {
            if expected.deposed.as_ref().is_some_and(deposed) {
                left(deleted)
            } else {
                Fate::Made
            }
        }
        Action::Destroy if !holding.current => Fate::Made,
        Action::Destroy => left(deleted),
        Action::Create => create(created, holding),
        Action::Replace => match (created, deleted) {
            (Some(Came::Done), Some(Came::Done)) if holding.current => Fate::Made,
            (Some(Came::Done), _) if holding.current && !holding.deposed.is_empty() => Fate::LeftBehind,
            (None, None) => Fate::NotBegun,
            // The old one is gone, and nothing took its place: the next plan creates it.
            (None, Some(Came::Done)) if !holding.current => Fate::NotBegun,
            (None, deleted) => left(deleted),
            (created, _) => create(created, holding),
        },
        Action::Update | Action::Unknown => match updated {
            None => Fate::NotBegun,
            Some(Came::Done) => Fate::Made,
            Some(Came::Failed) => Fate::Failed,
            Some(Came::UnderWay) => Fate::Doubtful,
        },
        Action::Forget => {
            if holding.current {
                Fate::NotBegun
            } else {
                Fate::Made
            }
        }
        Action::Keep | Action::Read => {
            if holding.current {
                Fate::Made
            } else {
                Fate::NotBegun
            }
        }
    };
    let doing = [Doing::Create, Doing::Update, Doing::Delete];
    let id = doing.iter().find_map(|doing| course.part(&expected.address, *doing)?.id.clone());
    Became { address: expected.address.clone(), action: expected.action, fate, id }
}

fn create(created: Option<Came>, holding: &Holding) -> Fate {
    match (created, holding.current) {
        (Some(Came::Done) | None, true) => Fate::Made,
        (Some(Came::Done), false) => Fate::Unrecorded,
        (Some(Came::UnderWay), true) => Fate::Doubtful,
        (Some(Came::UnderWay), false) => Fate::Lost,
        (Some(Came::Failed), _) => Fate::Failed,
        (None, false) => Fate::NotBegun,
    }
}

/// What was to be destroyed is still in the state.
fn left(deleted: Option<Came>) -> Fate {
    match deleted {
        None => Fate::NotBegun,
        Some(Came::Failed) => Fate::Failed,
        Some(Came::UnderWay | Came::Done) => Fate::Doubtful,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(address: &str, action: Action) -> Expected {
        Expected { address: address.into(), action, deposed: None, only_state: action == Action::Keep }
    }

    fn held(address: &str) -> Holding {
        Holding { address: address.into(), current: true, ..Holding::default() }
    }

    #[test]
    fn progress_counts_a_replacement_once() {
        let all = [expected("a", Action::Create), expected("b", Action::Replace), expected("c", Action::Keep)];
        let mut course = Course::default();
        assert_eq!(course.progress(&all), (0, 2));
        course.began("b", Doing::Delete, None);
        course.ended("b", Doing::Delete, Came::Done, None, 1);
        assert_eq!(course.progress(&all), (0, 2));
        course.began("b", Doing::Create, None);
        assert_eq!(course.under_way().map(|part| part.doing).collect::<Vec<_>>(), [Doing::Create]);
        course.ended("b", Doing::Create, Came::Done, Some("id".into()), 3);
        course.ended("a", Doing::Create, Came::Done, None, 0);
        assert_eq!(course.progress(&all), (2, 2));
    }

    #[test]
    fn what_became_of_each_change_is_told_from_events_and_state() {
        use Action::{Create, Destroy, Keep, Replace, Update};
        let all = [
            expected("made", Create),
            expected("tainted", Create),
            expected("unrecorded", Create),
            expected("lost", Create),
            expected("doubtful", Create),
            expected("later", Create),
            expected("changed", Update),
            expected("unchanged", Update),
            expected("gone", Destroy),
            expected("there", Destroy),
            expected("old-there", Replace),
            expected("old-gone", Replace),
            expected("moved", Keep),
        ];
        let mut course = Course::default();
        for address in ["made", "unrecorded", "old-there"] {
            course.began(address, Doing::Create, None);
            course.ended(address, Doing::Create, Came::Done, Some(format!("id-{address}")), 1);
        }
        course.began("tainted", Doing::Create, None);
        course.ended("tainted", Doing::Create, Came::Failed, None, 1);
        course.began("lost", Doing::Create, None);
        course.began("doubtful", Doing::Create, None);
        course.ended("changed", Doing::Update, Came::Done, None, 1);
        course.ended("gone", Doing::Delete, Came::Done, None, 1);
        course.ended("old-gone", Doing::Delete, Came::Done, None, 1);
        let state = [
            held("made"),
            Holding { tainted: true, ..held("tainted") },
            held("doubtful"),
            held("changed"),
            held("unchanged"),
            held("there"),
            Holding { deposed: vec!["00000001".into()], ..held("old-there") },
            held("moved"),
        ];
        let told = became(&all, &course, &state);
        let fates: Vec<(&str, Fate)> = told.iter().map(|one| (one.address.as_str(), one.fate)).collect();
        assert_eq!(
            fates,
            [
                ("made", Fate::Made),
                ("tainted", Fate::Tainted),
                ("unrecorded", Fate::Unrecorded),
                ("lost", Fate::Lost),
                ("doubtful", Fate::Doubtful),
                ("later", Fate::NotBegun),
                ("changed", Fate::Made),
                ("unchanged", Fate::NotBegun),
                ("gone", Fate::Made),
                ("there", Fate::NotBegun),
                ("old-there", Fate::LeftBehind),
                ("old-gone", Fate::NotBegun),
                ("moved", Fate::Made),
            ]
        );
        assert_eq!(told[2].id.as_deref(), Some("id-unrecorded"));
    }
}
