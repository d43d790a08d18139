//! From the command line to an operation, and from its outcome to the exit code.

use std::process::ExitCode;

use super::args::{Cli, Command, Events, Global, Output};
use super::{config as config_args, hotfix, provision, rehearse as rehearse_args, signals};
use crate::clock::{Clock, Stopwatch};
use crate::config::{Env, FileSource, Loaded, Sources, load};
use crate::domain::WorldKind;
use crate::engine::Listener;
use crate::error::{Error, Result};
use crate::ops::{self, Invocation, Manner, Report};
use crate::process::Program;
use crate::ui::ask::Asking;
use crate::ui::out::Out;
use crate::ui::style::Style;
use crate::ui::voice::Voice;
use crate::ui::{self, jsonl::Jsonl};

/// Set by the parent of an embedded rehearsal: `confirm` or `ask`.
const EMBEDDED: &str = "GOSPEL_RELEASE_REHEARSAL";
/// World time of a rehearsal; honoured only where every endpoint is on this machine.
const CLOCK: &str = "GOSPEL_RELEASE_CLOCK";

/// Everything between the operating system and the operations.
#[must_use]
pub fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default().to_string_lossy().into_owned();
    // kube panics when two TLS providers are compiled in and none was chosen; a second choice is no error.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    if let Some(code) = stand_in(&name, &args.collect::<Vec<_>>()) {
        return code;
    }
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let runtime = match runtime(&cli) {
        Ok(runtime) => runtime,
        Err(error) => return told(&Error::internal("start").because(error), Style::plain()),
    };
    let env = Env::of_process();
    log(&cli.global, &env);
    let code = runtime.block_on(run(cli, env));
    // A blocking read that nobody waits for any more (a prompt, a name lookup) must not hold the process.
    runtime.shutdown_background();
    ExitCode::from(code)
}

/// The tool mostly waits: its command runs on the main thread, connections and the lock's renewal on one beside it. More would wake each
/// other for every answer. A world is many servers, and takes what there is.
fn runtime(cli: &Cli) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if cli.global.rehearse.is_none() && !matches!(cli.command, Command::Rehearse(_)) {
        builder.worker_threads(1);
    }
    builder.enable_all().build()
}

/// A program of the rehearsal, where we were started under its name.
fn stand_in(name: &str, args: &[std::ffi::OsString]) -> Option<ExitCode> {
    use crate::rehearsal::programs::{Surroundings, main_as};
    let env = Env::of_process();
    let clock = env.get(CLOCK).and_then(Clock::from_env).unwrap_or_else(Clock::real);
    let (mut out, mut err) = ui::out::streams();
    let get = |name: &str| env.get(name).map(str::to_owned);
    let around = Surroundings { env: &get, clock, out: &mut out, err: &mut err };
    let ended = main_as(name, args, around)?;
    Some(ui::out::stand_in(&ended.stdout, &ended.stderr, ended.code))
}

fn told(error: &Error, style: Style) -> ExitCode {
    ui::error::print(error, style);
    ExitCode::from(error.kind().exit_code())
}

fn log(global: &Global, env: &Env) {
    let level = match global.verbose {
        0 => env.get("GOSPEL_RELEASE_LOG").unwrap_or("off").to_owned(),
        1 => "gospel_release=debug".to_owned(),
        _ => "gospel_release=trace,kube=debug,hyper=info".to_owned(),
    };
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(level))
        .with_writer(std::io::stderr)
        .with_ansi(Style::of_stderr(global.color, env).color)
        .init();
}

async fn run(cli: Cli, env: Env) -> u8 {
    let style = Style::of_stderr(cli.global.color, &env);
    let mut out = Out::stdout(Style::of_stdout(cli.global.color, &env));
    let json = cli.global.output == Output::Json;
    let result = dispatch(cli, env, &mut out).await;
    let flushed = out.flush();
    match result.and_then(|code| flushed.map(|()| code)) {
        Ok(code) => code,
        Err(error) => {
            ui::error::print(&error, style);
            if json {
                // The error is already told; a closed standard output cannot be told anything.
                let _ = out.json_error(&ui::error::json(&error)).and_then(|()| out.flush());
            }
            error.kind().exit_code()
        }
    }
}

async fn dispatch(cli: Cli, env: Env, out: &mut Out) -> Result<u8> {
    if let Some(scenario) = &cli.global.rehearse
        && !matches!(cli.command, Command::Rehearse(_) | Command::Completions(_) | Command::Reference(_))
    {
        return embedded(&cli, scenario, &env).await;
    }
    match &cli.command {
        Command::Completions(completions) => out.bytes(&completions.script()).map(|()| 0),
        Command::Reference(_) => out.bytes(super::reference::markdown().as_bytes()).map(|()| 0),
        Command::Rehearse(args) => rehearse(&args.action, &cli.global, &env, out).await,
        Command::Config(args) => config(&args.action, &cli.global, &env, out),
        _ => operation(cli, env, out).await,
    }
}

/// `--rehearse`: the embedded production here, the tool beside it in a process of its own, whose surroundings are the
/// rehearsal's alone (docs/decisions/0008).
async fn embedded(cli: &Cli, scenario: &str, env: &Env) -> Result<u8> {
    use crate::rehearsal::serve::{Options, Rehearsal};
    let options = Options::new(crate::rehearsal::Scenario::named(scenario)?);
    let rehearsal = Rehearsal::start(options).await?;
    let program = std::env::current_exe().map_err(|error| Error::internal("find our own program").because(error))?;
    let manifest = rehearsal.manifest();
    let mut child = Program::new(program).arg("--config").arg(&manifest.config);
    for arg in std::env::args_os().skip(1) {
        let text = arg.to_string_lossy();
        if text != "--rehearse" && !text.starts_with("--rehearse=") && text != "--interactive" {
            child = child.arg(arg);
        }
    }
    for name in ops::rehearse::ambient(env) {
        child = child.env_remove(name);
    }
    for (name, value) in &manifest.environment {
        child = child.env(name, value);
    }
    let answers = if cli.global.interactive { "ask" } else { "confirm" };
    let code = child.env(EMBEDDED, answers).attached().await;
    rehearsal.shutdown().await;
    code
}

async fn rehearse(action: &rehearse_args::Action, global: &Global, env: &Env, out: &mut Out) -> Result<u8> {
    let json = global.output == Output::Json;
    match action {
        rehearse_args::Action::List => ops::rehearse::list(out, json).map(|()| 0),
        rehearse_args::Action::Serve(args) => {
            let stop = signals::listen(Manner::new("stopping"), Voice::new(Style::of_stderr(global.color, env)));
            ops::rehearse::serve(args, env, &stop, out, json).await.map(|()| 0)
        }
    }
}

fn config(action: &config_args::Action, global: &Global, env: &Env, out: &mut Out) -> Result<u8> {
    match action {
        config_args::Action::Schema => out.bytes(crate::config::schema::file().as_bytes())?,
        config_args::Action::Check => {
            let loaded = loaded(global, env)?;
            let files: Vec<String> = loaded.files.iter().map(|file| file.display().to_string()).collect();
            let of = if files.is_empty() { "the defaults".to_owned() } else { files.join(", ") };
            out.line(&format!("{of}: right"))?;
        }
        config_args::Action::Show { origins } => {
            let loaded = loaded(global, env)?;
            if global.output == Output::Json {
                out.json(&crate::config::show::json(&loaded))?;
            } else {
                out.bytes(crate::config::show::text(&loaded, *origins).as_bytes())?;
            }
        }
    }
    Ok(0)
}

fn loaded(global: &Global, env: &Env) -> Result<Loaded> {
    let cwd = std::env::current_dir()
        .map_err(|error| Error::config("the working directory is not there any more").because(error))?;
    let file = global.config.clone().map_or(FileSource::Search, FileSource::Path);
    load(&Sources { env, cwd, file, sets: global.sets.clone() })
}

/// Whether the embedded production is asked: it consents to everything. The variable alone, in the environment of a real one, does not.
fn rehearsed(invocation: &Invocation) -> bool {
    invocation.env.get(EMBEDDED).is_some() && invocation.kind == WorldKind::Rehearsal
}

/// Everything that needs a world.
async fn operation(cli: Cli, env: Env, out: &mut Out) -> Result<u8> {
    let started = Stopwatch::start();
    if let Some(file) = &cli.global.config
        && env.get(EMBEDDED).is_none()
        // What it writes is another file.
        && !matches!(cli.command, Command::Init(_))
    {
        ui::commands::name_config(file, Cli::commands_with_settings());
    }
    let loaded = loaded(&cli.global, &env)?;
    let unconfigured = loaded.files.is_empty();
    let mut invocation = invocation(&cli.global, env, loaded);
    if unconfigured && !matches!(cli.command, Command::Init(_) | Command::Provision(_) | Command::Runs(_)) {
        let said = "no gospel-release.yaml from here upward: the built-in settings are used (cd to the repository, or gospel-release init)";
        invocation.warn(said.to_owned());
    }
    let json = cli.global.output == Output::Json;
    let style = Style::of_stderr(cli.global.color, &invocation.env);
    let report = match cli.command {
        Command::Promote(args) => {
            let rehearsed = rehearsed(&invocation);
            let options = ops::promote::Options {
                version: args.version,
                approve: args.consent.approve,
                wait_approval: args.consent.wait_approval,
                terminate_sync: args.consent.terminate_sync || rehearsed,
                takeover: args.consent.takeover,
                first_release: args.first_release,
                despite_quarantine: args.despite_quarantine,
                despite_lost: args.despite_lost,
                reason: args.reason,
            };
            ops::promote::promote(&mut invocation, &options).await
        }
        Command::Rollback(args) => {
            let rehearsed = rehearsed(&invocation);
            let options = ops::rollback::Options {
                to: args.to,
                services: args.services,
                reason: args.reason,
                direct: args.direct,
                pause_sync: args.pause_sync || (rehearsed && args.direct),
                terminate_sync: args.terminate_sync || rehearsed,
                accept_schema: args.accept_schema,
                takeover: args.takeover,
                ..ops::rollback::Options::default()
            };
            ops::rollback::rollback(&mut invocation, &options).await
        }
        Command::Hotfix(args) => match args.action {
            hotfix::Action::Start(args) => return ops::hotfix::start(&mut invocation, &args, out, json).await,
            hotfix::Action::Ship(args) => {
                let rehearsed = rehearsed(&invocation);
                let options = ops::hotfix::ShipOptions {
                    reason: args.reason.or_else(|| rehearsed.then(|| "a rehearsal".to_owned())),
                    services: args.services,
                    direct: args.direct,
                    pause_sync: args.pause_sync || (rehearsed && args.direct),
                    terminate_sync: args.terminate_sync || rehearsed,
                    builder: args.builder.map(Into::into),
                    takeover: args.takeover,
                    ..ops::hotfix::ShipOptions::default()
                };
                ops::hotfix::ship(&mut invocation, &options).await
            }
            hotfix::Action::Finish(args) => {
                let rehearsed = rehearsed(&invocation);
                let options = ops::hotfix::FinishOptions {
                    name: args.name,
                    approve: args.consent.approve,
                    wait_approval: args.consent.wait_approval,
                    terminate_sync: args.consent.terminate_sync || rehearsed,
                    takeover: args.consent.takeover,
                    ..ops::hotfix::FinishOptions::default()
                };
                ops::hotfix::finish(&mut invocation, &options).await
            }
        },
        Command::Resume(args) => ops::runs::resume(&mut invocation, &args).await,
        Command::Abort(args) => {
            return ops::abort::abort(&mut invocation, args.run.as_ref(), args.reason.as_deref(), out, json).await;
        }
        Command::Status(_) => return ops::status::status(&mut invocation, out, json).await,
        Command::Runs(args) => return ops::kept::runs(&mut invocation, &args.action, out, json).await,
        Command::Checklist(args) => return ops::checklist::checklist(&mut invocation, &args, out, json).await,
        Command::Tag(args) => return ops::tag::tag(&mut invocation, &args, out, json).await,
        Command::Provision(provision::Provision { action: provision::Action::Apply(args) }) => {
            // A world that was made for this command has no plan of before.
            let plan_first = rehearsed(&invocation) && args.plan.is_none();
            let options = ops::provision::ApplyOptions { plan: args.plan, plan_first, confirm: args.confirm };
            ops::provision::apply(&mut invocation, &options).await
        }
        Command::Provision(args) => {
            return ops::provision::provision(&mut invocation, &args.action, out, cli.global.output).await;
        }
        Command::Init(args) => return ops::init::init(&mut invocation, &args, out, json),
        Command::Monitor(args) => return ops::monitor::monitor(&mut invocation, &args, out, json).await,
        Command::Doctor(_) => return ops::doctor::doctor(&mut invocation, out, json).await,
        Command::Config(_) | Command::Rehearse(_) | Command::Completions(_) | Command::Reference(_) => {
            return Err(Error::internal("a command that needs no world came here"));
        }
    };
    drop(invocation);
    tell(&report, started, style, out, json)
}

/// The report to standard output, and the failure to standard error.
fn tell(report: &Report, started: Stopwatch, style: Style, out: &mut Out, json: bool) -> Result<u8> {
    if let Some(error) = &report.failure {
        ui::error::print(error, style);
    }
    if json {
        out.json(report)?;
    } else if report.failure.is_none() {
        let text = report.text(Some(started.elapsed()));
        let style = out.style();
        text.lines().flat_map(|line| style.lines(line, 6)).try_for_each(|line| out.line(&line))?;
    } else if let Some(path) = &report.evidence {
        ui::stderr_line(&format!("evidence: {path}"));
    }
    Ok(report.exit)
}

fn invocation(global: &Global, env: Env, loaded: Loaded) -> Invocation {
    let kind = ops::connect::world_kind(&loaded.config);
    let clock = match env.get(CLOCK).and_then(Clock::from_env) {
        Some(clock) if kind == WorldKind::Rehearsal => clock,
        _ => Clock::real(),
    };
    let confirm = env.get(EMBEDDED) == Some("confirm") && kind == WorldKind::Rehearsal;
    let asking = Asking { yes: global.yes, rehearsal: confirm };
    let style = Style::of_stderr(global.color, &env);
    let voice = Voice::new(style);
    let listener: Box<dyn Listener> = match global.events {
        Some(Events::Jsonl) => Box::new(Jsonl::new(clock.clone(), asking)),
        None => ui::renderer(style, asking, &voice),
    };
    let manner = Manner::new("stopping at the next safe point; once more to stop at once");
    Invocation {
        file: loaded.files.into_iter().next().filter(|file| file.parent() == Some(&loaded.dir)),
        cancel: signals::listen(manner.clone(), voice),
        manner,
        base: loaded.dir,
        config: loaded.config,
        env,
        clock,
        listener,
        dry_run: global.dry_run,
        kind,
    }
}
