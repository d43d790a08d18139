//! Ctrl-C, SIGTERM and SIGHUP.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::error::Kind;
use crate::ops::Manner;
use crate::ui::voice::Voice;

/// The first Ctrl-C, SIGTERM or SIGHUP asks for a stop at the next safe point; the second ends the process at once. `manner` says
/// what is told, and whether a terminal that goes away is a stop.
pub(super) fn listen(manner: Manner, voice: Voice) -> CancellationToken {
    let cancel = CancellationToken::new();
    let asked = cancel.clone();
    tokio::spawn(async move {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let Ok([mut interrupt, mut term, mut hang_up]) = kinds
            .map(signal)
            .into_iter()
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(drop)
            .and_then(|signals| <[_; 3]>::try_from(signals).map_err(drop))
        else {
            return;
        };
        let (mut signalled, mut told) = (false, false);
        loop {
            tokio::select! {
                // Not by a signal: who goes first asks for it through the lock.
                () = asked.cancelled(), if !signalled && !told => {
                    told = true;
                    voice.say("somebody asks, through the lock, that this stops: stopping at the next safe point");
                    continue;
                }
                _ = interrupt.recv() => {}
                _ = term.recv() => {}
                _ = hang_up.recv() => if manner.outlives_its_terminal() { continue },
            }
            if signalled {
                voice.say_last(&manner.second());
                #[allow(clippy::disallowed_methods, reason = "the second Ctrl-C ends the process, whatever it does")]
                std::process::exit(i32::from(Kind::Interrupted.exit_code()));
            }
            signalled = true;
            asked.cancel();
            if let Some(first) = manner.first() {
                voice.say(&first);
            }
        }
    });
    cancel
}
