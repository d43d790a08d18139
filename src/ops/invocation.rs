//! What every verb is handed: settings, surroundings, and who listens.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::{Config, Env};
use crate::domain::{RunId, WorldKind};
use crate::engine::{Listener, SeenEvent, StateDir};
use crate::error::{Error, Result};

/// One call of the tool.
pub struct Invocation {
    pub config: Config,
    /// The directory that relative paths of the configuration start from.
    pub base: PathBuf,
    /// The configuration file of the repository, where there is one.
    pub file: Option<PathBuf>,
    pub env: Env,
    pub clock: Clock,
    /// Set by the first Ctrl-C, SIGTERM or SIGHUP.
    pub cancel: CancellationToken,
    /// What those signals mean just now.
    pub manner: Manner,
    pub listener: Box<dyn Listener>,
    /// `--dry-run`.
    pub dry_run: bool,
    /// What the endpoints say; the identity check may make it `Mixed`.
    pub kind: WorldKind,
}

/// What is told when a stop is asked for, and whether a terminal that goes away asks for one. A verb changes it while it drives
/// something that goes on by itself; clones are the same.
#[derive(Debug, Clone)]
pub struct Manner(Arc<Mutex<Said>>);

#[derive(Debug)]
struct Said {
    first: String,
    second: String,
    outlives_its_terminal: bool,
}

impl Manner {
    /// As most verbs stop.
    #[must_use]
    pub fn new(first: &str) -> Self {
        let second = "stopped at once. To see what was in flight, and to go on: gospel-release status; gospel-release resume --takeover";
        let said = Said { first: first.to_owned(), second: second.to_owned(), outlives_its_terminal: false };
        Self(Arc::new(Mutex::new(said)))
    }

    /// From now on something goes on by itself: a terminal that goes away is no reason to stop it, and who drives it tells of the
    /// first stop.
    pub fn goes_on_by_itself(&self, second: &str) {
        let said = Said { first: String::new(), second: second.to_owned(), outlives_its_terminal: true };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = said;
    }

    /// What the first signal says; `None` where somebody else tells of it.
    #[must_use]
    pub fn first(&self) -> Option<String> {
        self.read(|said| Some(said.first.clone()).filter(|first| !first.is_empty()))
    }

    /// What the second one says, before the process ends.
    #[must_use]
    pub fn second(&self) -> String {
        self.read(|said| said.second.clone())
    }

    #[must_use]
    pub fn outlives_its_terminal(&self) -> bool {
        self.read(|said| said.outlives_its_terminal)
    }

    fn read<T>(&self, what: impl FnOnce(&Said) -> T) -> T {
        what(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Invocation {
    /// Tells people something that belongs to no step.
    pub fn note(&mut self, text: impl Into<String>) {
        self.listener.hear(&crate::engine::Event::Seen(SeenEvent::Note { text: text.into() }), None);
    }

    /// Tells people something that they should know.
    pub fn warn(&mut self, text: impl Into<String>) {
        self.listener.hear(&crate::engine::Event::Seen(SeenEvent::Warning { text: text.into() }), None);
    }

    /// `user@host`, as the Lease and the journal name us.
    #[must_use]
    pub fn who(&self) -> String {
        let user = ["GITHUB_ACTOR", "USER", "LOGNAME"].iter().find_map(|name| self.env.get(name)).map(str::to_owned);
        let user = user.unwrap_or_else(|| format!("uid{}", rustix::process::getuid().as_raw()));
        let host = rustix::system::uname();
        format!("{user}@{}", host.nodename().to_string_lossy())
    }

    /// Where this project's runs are kept.
    pub fn state_dir(&self) -> Result<StateDir> {
        let home = self.env.state_home().ok_or_else(|| {
            Error::config("no place for the journal: neither XDG_STATE_HOME nor HOME is set")
                .hint("set XDG_STATE_HOME to a directory that can be written")
        })?;
        let base = home.join("gospel-release");
        // Drills do not stand among real releases.
        let base = if self.kind == WorldKind::Rehearsal { base.join("rehearsal") } else { base };
        Ok(StateDir::new(&base, &self.config.project))
    }

    /// A new run's id: `20250304-091500-k3v9`; sorts by time.
    pub fn new_run_id(&self) -> Result<RunId> {
        let suffix: String = std::iter::repeat_with(fastrand::alphanumeric).take(4).collect();
        format!("{}-{}", self.clock.now().strftime("%Y%m%d-%H%M%S"), suffix.to_lowercase()).parse()
    }
}
