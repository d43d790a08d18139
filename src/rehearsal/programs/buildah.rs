//! `buildah` and `podman`, which need no engine: what a hotfix asks of them. Both end with 125 when they fail by
//! themselves (buildah(1), podman(1), "Exit Codes").

use std::fmt::Write as _;
use std::io::Read;

use super::Ended;
use super::builder::{Engine, Recipe, Unbuilt, Words, password};
use super::docker::{filled, shown};
use super::push::{self, Refused};

/// Whose logins these are; both read docker's, too.
const LOGINS: &str = "containers";

fn well(stdout: impl Into<String>, stderr: impl Into<String>) -> Ended {
    Ended { code: 0, stdout: stdout.into(), stderr: stderr.into() }
}

fn failed(text: &str) -> Ended {
    Ended { code: 125, stdout: String::new(), stderr: format!("Error: {text}\n") }
}

/// Runs it, under either name, with the arguments after `argv[0]`.
pub async fn run(engine: &Engine, name: &str, args: &[String], stdin: &mut dyn Read) -> Ended {
    let podman = name == "podman";
    // Options of the program itself come first: where it keeps its images is ours to say.
    let own = ["--root", "--runroot", "--storage-driver", "--storage-opt", "--log-level"];
    let mut args = args;
    while let Some(first) = args.first().filter(|first| own.iter().any(|own| first.starts_with(own))) {
        args = args.get(if first.contains('=') { 1.. } else { 2.. }).unwrap_or_default();
    }
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--version" | "-v", ..] if podman => well("podman version 5.5.0\n", ""),
        ["--version" | "-v", ..] => well("buildah version 1.40.1 (image-spec 1.1.1, runtime-spec 1.2.1)\n", ""),
        ["version", ..] if podman => {
            well("Client:       Podman Engine\nVersion:      5.5.0\nAPI Version:  5.5.0\n", "")
        }
        ["version", ..] => well("Version:         1.40.1\nGo Version:      go1.24.3\nImage Spec:      1.1.1\n", ""),
        ["info", ..] => {
            well("{\n    \"host\": {\n        \"arch\": \"amd64\",\n        \"os\": \"linux\"\n    }\n}\n", "")
        }
        ["build" | "bud", ..] if !podman || words[0] == "build" => build(engine, &args[1..]),
        ["image", "build", ..] if podman => build(engine, &args[2..]),
        ["login", ..] => login(engine, &args[1..], stdin),
        ["logout", ..] => {
            let registry = args.get(1).map_or("", String::as_str);
            engine.log_out(LOGINS, registry);
            well(format!("Removed login credentials for {registry}\n"), "")
        }
        ["push", ..] => push_image(engine, &args[1..]).await,
        ["image", "push", ..] if podman => push_image(engine, &args[2..]).await,
        ["image", "inspect", ..] if podman => inspect(engine, &args[2..]),
        ["inspect", ..] => inspect(engine, &args[1..]),
        [other, ..] if podman => {
            failed(&format!("unrecognized command `podman {other}`\nTry 'podman --help' for more information"))
        }
        [other, ..] => failed(&format!("unknown command {other:?} for \"buildah\"")),
        [] => well("Usage:\n  buildah [command]\n", ""),
    }
}

fn build(engine: &Engine, args: &[String]) -> Ended {
    let valued = [
        "-f",
        "--file",
        "-t",
        "--tag",
        "--label",
        "--build-arg",
        "--platform",
        "--target",
        "--iidfile",
        "--format",
        "--isolation",
        "--network",
        "--annotation",
        "--timestamp",
        "--pull",
        "--authfile",
    ];
    let bare = ["-q", "--quiet", "--layers", "--no-cache", "--pull-always", "--rm", "--force-rm", "--tls-verify"];
    let words = match Words::read(args, &valued, &bare) {
        Ok(words) => words,
        Err(why) => return failed(&why),
    };
    let recipe = words.recipe();
    match engine.build(&recipe) {
        Ok((image, steps)) => {
            let id = image.id();
            let id = id.trim_start_matches("sha256:");
            if recipe.quiet {
                return well(format!("{id}\n"), "");
            }
            let mut text = steps_until(&steps, steps.len(), &recipe);
            let _ = writeln!(text, "COMMIT {}", image.reference);
            let _ = writeln!(text, "--> {}", id.get(..12).unwrap_or(id));
            for tag in &recipe.tags {
                let _ = writeln!(text, "Successfully tagged {tag}");
            }
            let _ = writeln!(text, "{id}");
            well(text, "Getting image source signatures\nWriting manifest to image destination\n")
        }
        Err(Unbuilt::Context(path)) => {
            let why =
                format!("no context directory and no Containerfile specified: stat {path}: no such file or directory");
            failed(&why)
        }
        Err(Unbuilt::File(file)) => failed(&format!(
            "the specified Containerfile or Dockerfile does not exist: stat {file}: no such file or directory"
        )),
        Err(Unbuilt::Step(n, of, step, said)) => {
            let command = step.strip_prefix("RUN ").unwrap_or(&step);
            let mut ended = failed(&format!("building at STEP \"{step}\": while running runtime: exit status 1"));
            ended.stdout = format!("STEP {n}/{of}: {step}\n");
            ended.stderr = format!("{said}\nsubprocess exited with status 1\n{}", ended.stderr);
            // buildah hands the step's own exit code on.
            ended.code = if command == step { 125 } else { 1 };
            ended
        }
        Err(Unbuilt::Other(why)) => failed(&why),
    }
}

fn steps_until(steps: &[String], end: usize, recipe: &Recipe) -> String {
    let mut text = String::new();
    for (n, step) in (1..).zip(steps).take(end) {
        let _ = writeln!(text, "STEP {n}/{}: {step}", steps.len());
    }
    for (key, value) in &recipe.labels {
        let _ = writeln!(text, "LABEL {key:?}={value:?}");
    }
    text
}

fn login(engine: &Engine, args: &[String], stdin: &mut dyn Read) -> Ended {
    let valued = ["-u", "--username", "-p", "--password", "--authfile", "--cert-dir"];
    let words = match Words::read(args, &valued, &["--password-stdin", "--tls-verify"]) {
        Ok(words) => words,
        Err(why) => return failed(&why),
    };
    let user = words.last(&["-u", "--username"]).unwrap_or_default();
    let secret = match words.last(&["-p", "--password"]) {
        _ if words.has(&["--password-stdin"]) => password(stdin),
        Some(secret) => secret.to_owned(),
        None => return failed("getting username and password: reading password: inappropriate ioctl for device"),
    };
    let host = words.words.first().map_or("docker.io", String::as_str);
    if engine.log_in(LOGINS, host, user, &secret) {
        well("Login Succeeded!\n", "")
    } else {
        failed(&format!("logging into {host:?}: invalid username/password"))
    }
}

async fn push_image(engine: &Engine, args: &[String]) -> Ended {
    let valued = ["--digestfile", "--authfile", "--creds", "--format", "-f", "--retry", "--retry-delay"];
    let bare = ["-q", "--quiet", "--tls-verify", "--remove-signatures", "--compression-format", "--all"];
    let words = match Words::read(args, &valued, &bare) {
        Ok(words) => words,
        Err(why) => return failed(&why),
    };
    let Some(source) = words.words.first() else { return failed("at least a source image ID must be specified") };
    let Some(image) = engine.image(source) else {
        return failed(&format!("locating image {source:?}: {source}: image not known"));
    };
    let target = words.words.get(1).unwrap_or(source).trim_start_matches("docker://");
    let Some((host, repository, tag)) = push::parts(target) else {
        return failed(&format!("invalid image reference {target:?}"));
    };
    let mut said = String::from("Getting image source signatures\n");
    let wrong = |why: &str| failed(&format!("pushing image {source:?} to \"docker://{target}\": {why}"));
    if host != engine.settings.registry {
        return wrong(&format!(
            "pinging container registry {host}: Get \"https://{host}/v2/\": dial tcp: lookup {host}: no such host"
        ));
    }
    let known = engine.is_logged_in(LOGINS, &host) || engine.is_logged_in("docker", &host);
    let given = words.last(&["--creds"]).and_then(|creds| creds.split_once(':'));
    if !known && !given.is_some_and(|(user, secret)| engine.log_in(LOGINS, &host, user, secret)) {
        return wrong(&format!(
            "trying to reuse blob {} at destination: checking whether a blob {} exists in {host}/{repository}: \
             authentication required",
            image.id(),
            image.id()
        ));
    }
    match push::push(engine, &image, &repository, &tag).await {
        Ok(_) => {
            let _ = writeln!(said, "Copying config {}", image.id());
            said.push_str("Writing manifest to image destination\n");
            if let Some(file) = words.last(&["--digestfile"])
                && let Err(error) = std::fs::write(file, image.digest())
            {
                return failed(&format!("failed to write digest to file {file:?}: open {file}: {error}"));
            }
            engine.pushed(source, image);
            well("", if words.has(&["-q", "--quiet"]) { String::new() } else { said })
        }
        Err(Refused::Upload(why)) => {
            wrong(&format!("writing blob: initiating layer upload to /v2/{repository}/blobs/uploads/ in {host}: {why}"))
        }
        Err(Refused::Manifest(why)) => {
            wrong(&format!("writing manifest: uploading manifest {tag} to {host}/{repository}: {why}"))
        }
        Err(Refused::Away(why)) => wrong(&format!("pinging container registry {host}: {why}")),
    }
}

fn inspect(engine: &Engine, args: &[String]) -> Ended {
    let words = match Words::read(args, &["-f", "--format", "-t", "--type"], &[]) {
        Ok(words) => words,
        Err(why) => return failed(&why),
    };
    let mut found = Vec::new();
    for name in &words.words {
        let Some(image) = engine.image(name) else {
            return failed(&format!("{name}: image not known"));
        };
        let mut value = shown(&image);
        value["Digest"] = serde_json::json!(image.digest());
        value["Labels"] = value["Config"]["Labels"].clone();
        found.push(value);
    }
    match words.last(&["-f", "--format"]) {
        Some(template) => filled(template, &found),
        None => well(format!("{:#}\n", serde_json::Value::Array(found)), ""),
    }
}
