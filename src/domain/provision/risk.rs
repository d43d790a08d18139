//! What a change may cost that cannot be bought back: data, addresses, protection.

mod access;
mod lost;
mod moved;
mod permission;
mod ports;
mod statement;
mod switched_off;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use super::secret::Secrets;
use super::{Action, Change, RawChange};

/// What kind of harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RiskKind {
    /// Data is deleted, or cannot be read any more.
    DataLoss,
    /// A name or an address stops answering, or comes back as another.
    AddressLoss,
    /// A port that administers or holds data is opened to the whole internet.
    AdminPortOpen,
    /// Something else is opened to everybody.
    Exposed,
    /// Everything may be done to everything.
    Admin,
    /// Everything of one service may be done to every resource.
    WidePermission,
    /// What keeps from deletion is switched off.
    ProtectionOff,
    /// Backups or versions are switched off.
    BackupsOff,
    /// There is no way back to what it was.
    OneWay,
    /// What serves stops serving, and loses neither data nor its address.
    Outage,
    /// What holds data, or answers at an address, stays and is managed by nobody.
    Unmanaged,
    /// What cannot be judged here: an unknown combination of actions, or something that is run or put off.
    Unknown,
}

impl RiskKind {
    /// For people.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::DataLoss => "data loss",
            Self::AddressLoss => "address lost",
            Self::AdminPortOpen | Self::Exposed => "open to everybody",
            Self::Admin | Self::WidePermission => "wide permission",
            Self::ProtectionOff => "protection off",
            Self::BackupsOff => "backups off",
            Self::OneWay => "no way back",
            Self::Outage => "outage",
            Self::Unmanaged => "managed by nobody",
            Self::Unknown => "not known",
        }
    }
}

/// A risk of one change. Its address must be named before the plan is applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Risk {
    /// As Terraform shows it; this is what confirms the risk: `aws_x.a (deposed object 1234)`.
    pub address: String,
    pub action: Action,
    pub kind: RiskKind,
    /// One sentence. It holds no secret.
    pub reason: String,
}

/// The risks of a change.
#[must_use]
pub fn risks(raw: &RawChange, change: &Change) -> Vec<Risk> {
    let mut found = Found(Vec::new());
    if change.action == Action::Unknown {
        let actions = raw.change.actions.join(", ");
        found.add(RiskKind::Unknown, format!("the actions ({actions}) are not known to this gospel-release"));
    }
    if change.action.destroys() {
        lost::lost(raw, change, &mut found);
    }
    if matches!(change.action, Action::Create | Action::Update | Action::Replace) {
        access::opened(raw, &mut found);
        permission::permitted(raw, &mut found);
    }
    if matches!(change.action, Action::Update | Action::Replace) {
        switched_off::switched_off(raw, &mut found);
    }
    match change.action {
        Action::Create => lost::taken_over(raw, &mut found),
        Action::Update => moved::moved(raw, &mut found),
        Action::Forget => lost::forgotten(raw, &mut found),
        _ => {}
    }
    if matches!(change.action, Action::Create | Action::Update) {
        lost::expired(raw, &mut found);
    }
    if change.action == Action::Destroy {
        switched_off::guard_gone(raw, &mut found);
    }
    if found.0.is_empty() {
        return Vec::new();
    }
    let secrets = Secrets::of(&raw.change);
    let risk = |(kind, reason): (RiskKind, String)| Risk {
        address: change.shown_address(),
        action: change.action,
        kind,
        reason: secrets.masked(&reason),
    };
    found.0.into_iter().map(risk).collect()
}

/// The path of what would have to be known to tell whether a change carries one of these risks; `None` where it can be told.
#[must_use]
pub(super) fn undecided(raw: &RawChange, kinds: &[RiskKind]) -> Option<&'static str> {
    access::undecided(raw, kinds)
}

/// What was found, with its reason.
struct Found(Vec<(RiskKind, String)>);

impl Found {
    fn add(&mut self, kind: RiskKind, reason: impl Into<String>) {
        self.0.push((kind, reason.into()));
    }
}
