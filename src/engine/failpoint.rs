//! A place where a test build can be made to die, as if the power had failed. Release builds have none.

/// Kills this process with SIGKILL when `GOSPEL_RELEASE_FAILPOINT` is `<cell>=<moment>`: for example
/// `step-intent:tag=before`.
#[cfg(debug_assertions)]
pub fn reached(cell: &str, moment: &str) {
    #[allow(clippy::disallowed_methods, reason = "test builds only; set by the crash matrix")]
    let armed = std::env::var("GOSPEL_RELEASE_FAILPOINT").unwrap_or_default();
    if armed.strip_suffix(moment).and_then(|rest| rest.strip_suffix('=')) == Some(cell) {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

#[cfg(not(debug_assertions))]
pub fn reached(_cell: &str, _moment: &str) {}
