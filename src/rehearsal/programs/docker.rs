//! `docker`, as its command line (28.x, with BuildKit) behaves for what a hotfix asks of it. Without an engine it says
//! what the real one says (observed): client's part on standard output, the daemon's absence on standard error, 1.

use std::fmt::Write as _;
use std::io::Read;

use serde_json::{Value, json};

use super::Ended;
use super::builder::{Engine, Image, Recipe, Unbuilt, Words, password};
use super::push::{self, Refused};
use crate::rehearsal::scenario::BuilderFault;

const AWAY: &str =
    "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?\n";
const CLIENT: &str = "Client:\n Version:    28.2.2\n Context:    default\n Debug Mode: false\n\nServer:\n";
const VERSION: &str = "Client:\n Version:           28.2.2\n API version:       1.50\n Go version:        go1.24.3\n \
                       Git commit:        e6534b4\n Built:             Fri May 30 12:07:14 2025\n \
                       OS/Arch:           linux/amd64\n Context:           default\n";
/// Whose logins these are.
const LOGINS: &str = "docker";

fn ended(code: u8, stdout: impl Into<String>, stderr: impl Into<String>) -> Ended {
    Ended { code, stdout: stdout.into(), stderr: stderr.into() }
}

/// Runs it with the arguments after `argv[0]`.
pub async fn run(engine: &Engine, args: &[String], stdin: &mut dyn Read) -> Ended {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let away = engine.settings.fault == BuilderFault::Absent;
    match words.as_slice() {
        ["--version" | "-v", ..] => ended(0, "Docker version 28.2.2, build e6534b4\n", ""),
        ["version", ..] => version(away, &args[1..]),
        ["info", ..] | ["system", "info", ..] => info(away, &args[1..]),
        ["login", ..] => login(engine, &args[1..], stdin),
        ["logout", ..] => {
            let registry = args.get(1).map_or("", String::as_str);
            engine.log_out(LOGINS, registry);
            ended(0, format!("Removing login credentials for {registry}\n"), "")
        }
        ["build", ..] => build(engine, away, &args[1..]),
        ["buildx" | "image" | "builder", "build", ..] => build(engine, away, &args[2..]),
        ["buildx", "version"] => ended(0, "github.com/docker/buildx v0.24.0 d0e5e86\n", ""),
        ["push", ..] => push_image(engine, away, &args[1..]).await,
        ["image", "push", ..] => push_image(engine, away, &args[2..]).await,
        ["image", "inspect", ..] => inspect(engine, away, &args[2..]),
        ["inspect", ..] => inspect(engine, away, &args[1..]),
        [] => ended(0, "Usage:  docker [OPTIONS] COMMAND\n", ""),
        [other, ..] => {
            let text = format!("docker: unknown command: docker {other}\n\nRun 'docker --help' for more information\n");
            ended(1, "", text)
        }
    }
}

fn wrong_flag(why: &str, command: &str) -> Ended {
    ended(125, "", format!("{why}\n\nUsage:  docker {command}\n\nRun 'docker {command} --help' for more information\n"))
}

fn version(away: bool, args: &[String]) -> Ended {
    let words = match Words::read(args, &["-f", "--format"], &[]) {
        Ok(words) => words,
        Err(why) => return wrong_flag(&why, "version [OPTIONS]"),
    };
    let fault = if away { AWAY } else { "" };
    match words.last(&["-f", "--format"]) {
        Some(_) if away => ended(1, "\n", AWAY),
        Some(template) => {
            let known = json!({ "Client": { "Version": "28.2.2" }, "Server": { "Version": "28.2.2", "Os": "linux",
                "Arch": "amd64" } });
            filled(template, &[known])
        }
        None if away => ended(1, VERSION, fault),
        None => {
            let server = "\nServer: Docker Engine - Community\n Engine:\n  Version:          28.2.2\n  API version:      \
                          1.50 (minimum version 1.24)\n  OS/Arch:          linux/amd64\n";
            ended(0, format!("{VERSION}{server}"), "")
        }
    }
}

fn info(away: bool, args: &[String]) -> Ended {
    let words = match Words::read(args, &["-f", "--format"], &[]) {
        Ok(words) => words,
        Err(why) => return wrong_flag(&why, "info [OPTIONS]"),
    };
    match words.last(&["-f", "--format"]) {
        Some(_) if away => ended(1, "\n", AWAY),
        Some(template) => {
            let known = json!({ "ServerVersion": "28.2.2", "OSType": "linux", "Architecture": "x86_64",
                "Driver": "overlay2", "Name": "laptop" });
            filled(template, &[known])
        }
        None if away => ended(1, CLIENT, AWAY),
        None => {
            let server = " Containers: 0\n  Running: 0\n Images: 7\n Server Version: 28.2.2\n Storage Driver: overlay2\n \
                          OSType: linux\n Architecture: x86_64\n Name: laptop\n Docker Root Dir: /var/lib/docker\n";
            ended(0, format!("{CLIENT}{server}"), "")
        }
    }
}

fn login(engine: &Engine, args: &[String], stdin: &mut dyn Read) -> Ended {
    let words = match Words::read(args, &["-u", "--username", "-p", "--password"], &["--password-stdin"]) {
        Ok(words) => words,
        Err(why) => return wrong_flag(&why, "login [OPTIONS] [SERVER]"),
    };
    let user = words.last(&["-u", "--username"]).unwrap_or_default();
    let mut said = String::new();
    let secret = if words.has(&["--password-stdin"]) {
        if user.is_empty() {
            return ended(1, "", "Must provide --username with --password-stdin\n");
        }
        password(stdin)
    } else if let Some(secret) = words.last(&["-p", "--password"]) {
        said.push_str("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n");
        secret.to_owned()
    } else {
        return ended(1, "", "Error: Cannot perform an interactive login from a non TTY device\n");
    };
    let registry = words.words.first().map_or("https://index.docker.io/v1/", String::as_str);
    let host = registry.trim_start_matches("https://").trim_end_matches('/');
    if engine.has_helper(host) {
        // The helper's answer to "store" (awslabs/amazon-ecr-credential-helper#102).
        let text = "Error saving credentials: error storing credentials - err: exit status 1, out: `not implemented`\n";
        return ended(1, "", text);
    }
    if engine.log_in(LOGINS, host, user, &secret) {
        said.push_str(
            "\nWARNING! Your credentials are stored unencrypted in '/home/dana/.docker/config.json'.\n\
             Configure a credential helper to remove this warning. See\n\
             https://docs.docker.com/go/credential-store/\n\n",
        );
        return ended(0, "Login Succeeded\n", said);
    }
    let text = format!(
        "Error response from daemon: login attempt to https://{host}/v2/ failed with status: 400 Bad Request\n"
    );
    ended(1, "", said + &text)
}

fn build(engine: &Engine, away: bool, args: &[String]) -> Ended {
    let valued = [
        "-f",
        "--file",
        "-t",
        "--tag",
        "--label",
        "--build-arg",
        "--platform",
        "--target",
        "--progress",
        "--iidfile",
        "--network",
        "--provenance",
        "--sbom",
        "--output",
        "-o",
        "--cache-from",
        "--secret",
        "--ssh",
    ];
    let words = match Words::read(args, &valued, &["-q", "--quiet", "--pull", "--no-cache", "--rm", "--load"]) {
        Ok(words) => words,
        Err(why) => return wrong_flag(&why, "build [OPTIONS] PATH | URL | -"),
    };
    if words.words.len() != 1 {
        let text = "ERROR: docker: 'docker buildx build' requires 1 argument\n\nUsage:  docker buildx build [OPTIONS] \
                    PATH | URL | -\n\nRun 'docker buildx build --help' for more information\n";
        return ended(1, "", text);
    }
    if away {
        return ended(1, "", format!("ERROR: {AWAY}"));
    }
    let recipe = words.recipe();
    match engine.build(&recipe) {
        Ok((image, steps)) => built(&recipe, &image, &steps),
        Err(Unbuilt::Context(path)) => {
            ended(1, "", format!("ERROR: failed to build: unable to prepare context: path {path:?} not found\n"))
        }
        Err(Unbuilt::File(file)) => ended(
            1,
            "",
            format!(
                "ERROR: failed to build: failed to solve: failed to read dockerfile: open {file}: no such file or directory\n"
            ),
        ),
        Err(Unbuilt::Step(n, of, step, said)) => {
            let command = step.strip_prefix("RUN ").unwrap_or(&step);
            let mut text = String::from("#0 building with \"default\" instance using docker driver\n");
            let _ = write!(text, "\n#{} [{n}/{of}] {step}\n", n + 4);
            for line in said.lines() {
                let _ = writeln!(text, "#{} 2.113 {line}", n + 4);
            }
            let _ = write!(
                text,
                "#{} ERROR: process \"/bin/sh -c {command}\" did not complete successfully: exit code: 1\n------\n > \
                 [{n}/{of}] {step}:\n",
                n + 4
            );
            for line in said.lines() {
                let _ = writeln!(text, "2.113 {line}");
            }
            let _ = write!(
                text,
                "------\nERROR: failed to build: failed to solve: process \"/bin/sh -c {command}\" did not complete \
                 successfully: exit code: 1\n"
            );
            ended(1, "", text)
        }
        Err(Unbuilt::Other(why)) => ended(1, "", format!("ERROR: failed to build: {why}\n")),
    }
}

fn built(recipe: &Recipe, image: &Image, steps: &[String]) -> Ended {
    if recipe.quiet {
        return ended(0, format!("{}\n", image.id()), "");
    }
    let mut text = String::from("#0 building with \"default\" instance using docker driver\n\n");
    text.push_str("#1 [internal] load build definition from Dockerfile\n#1 DONE 0.0s\n");
    for (n, step) in (1..).zip(steps) {
        let _ = write!(text, "\n#{} [{n}/{}] {step}\n#{} DONE 0.4s\n", n + 4, steps.len(), n + 4);
    }
    let last = steps.len() + 5;
    let _ = writeln!(text, "\n#{last} exporting to image\n#{last} writing image {} done", image.id());
    for tag in &recipe.tags {
        let _ = writeln!(text, "#{last} naming to {tag} done");
    }
    let _ = writeln!(text, "#{last} DONE 0.1s");
    ended(0, "", text)
}

async fn push_image(engine: &Engine, away: bool, args: &[String]) -> Ended {
    let words = match Words::read(args, &["--platform"], &["-q", "--quiet", "--disable-content-trust"]) {
        Ok(words) => words,
        Err(why) => return wrong_flag(&why, "push [OPTIONS] NAME[:TAG]"),
    };
    let [reference] = words.words.as_slice() else {
        let text = "docker: 'docker push' requires 1 argument\n\nUsage:  docker push [OPTIONS] NAME[:TAG]\n\nRun \
                    'docker push --help' for more information\n";
        return ended(1, "", text);
    };
    if away {
        return ended(1, "", AWAY);
    }
    let Some((host, repository, tag)) = push::parts(reference) else {
        return ended(1, "", "denied: requested access to the resource is denied\n");
    };
    let mut said = format!("The push refers to repository [{host}/{repository}]\n");
    let Some(image) = engine.image(reference) else {
        return ended(1, said, format!("An image does not exist locally with the tag: {host}/{repository}\n"));
    };
    if host != engine.settings.registry {
        let text = format!("Get \"https://{host}/v2/\": dial tcp: lookup {host}: no such host\n");
        return ended(1, said, text);
    }
    if !engine.is_logged_in(LOGINS, &host) && !engine.has_helper(&host) {
        return ended(1, said, "no basic auth credentials\n");
    }
    let short: String = image.id().chars().skip(7).take(12).collect();
    match push::push(engine, &image, &repository, &tag).await {
        Ok(size) => {
            let digest = image.digest();
            let _ = write!(said, "{short}: Preparing\n{short}: Pushed\n{tag}: digest: {digest} size: {size}\n");
            engine.pushed(reference, image);
            ended(0, said, "")
        }
        Err(Refused::Upload(why)) => {
            let _ = writeln!(said, "{short}: Preparing");
            ended(1, said, format!("{why}\n"))
        }
        Err(Refused::Manifest(why)) => {
            let _ = write!(said, "{short}: Preparing\n{short}: Pushed\n");
            ended(1, said, format!("{why}\n"))
        }
        Err(Refused::Away(why)) => ended(1, said, format!("Head \"https://{host}/v2/{repository}/blobs/\": {why}\n")),
    }
}

fn inspect(engine: &Engine, away: bool, args: &[String]) -> Ended {
    let words = match Words::read(args, &["-f", "--format", "--type", "--platform"], &["-s", "--size"]) {
        Ok(words) => words,
        Err(why) => return wrong_flag(&why, "image inspect [OPTIONS] IMAGE [IMAGE...]"),
    };
    if away {
        return ended(1, if words.has(&["-f", "--format"]) { "\n" } else { "[]\n" }, AWAY);
    }
    let mut found = Vec::new();
    for name in &words.words {
        match engine.image(name) {
            Some(image) => found.push(shown(&image)),
            None => return ended(1, "[]\n", format!("Error response from daemon: No such image: {name}\n")),
        }
    }
    match words.last(&["-f", "--format"]) {
        Some(template) => filled(template, &found),
        None => ended(0, format!("{:#}\n", Value::Array(found)), ""),
    }
}

/// An image as `image inspect` shows it.
pub fn shown(image: &Image) -> Value {
    let (os, architecture) = image.platform.split_once('/').unwrap_or(("linux", "amd64"));
    let manifest: Value = serde_json::from_str(&image.manifest).unwrap_or_default();
    let size: u64 =
        manifest["layers"].as_array().into_iter().flatten().filter_map(|layer| layer["size"].as_u64()).sum();
    json!({
        "Id": image.id(), "RepoTags": [image.reference], "RepoDigests": image.pushed, "Os": os,
        "Architecture": architecture, "Size": size, "Config": { "Labels": image.labels },
    })
}

/// Go's templates, as far as they name fields: `{{.Id}}`, `{{json .Config.Labels}}`, `{{index .RepoDigests 0}}`,
/// `{{index .Config.Labels "key"}}`. What is not there is `<no value>`, or an error for an index.
pub fn filled(template: &str, values: &[Value]) -> Ended {
    let mut out = String::new();
    for value in values {
        let mut rest = template;
        while let Some((before, after)) = rest.split_once("{{") {
            out.push_str(before);
            let Some((expression, after)) = after.split_once("}}") else {
                return ended(64, "", "template parsing error: template: :1: unclosed action\n");
            };
            match evaluated(expression.trim(), value) {
                Ok(text) => out.push_str(&text),
                Err(why) => {
                    let text =
                        format!("template parsing error: template: :1:2: executing \"\" at <{expression}>: {why}\n");
                    return ended(1, "\n", text);
                }
            }
            rest = after;
        }
        out.push_str(rest);
        out.push('\n');
    }
    ended(0, out, "")
}

fn evaluated(expression: &str, value: &Value) -> Result<String, String> {
    let field = |path: &str| {
        path.split('.').skip(1).filter(|part| !part.is_empty()).try_fold(value, |value, part| value.get(part))
    };
    let plain = |value: Option<&Value>| match value {
        None | Some(Value::Null) => "<no value>".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    if let Some(path) = expression.strip_prefix("json ") {
        return Ok(field(path.trim()).unwrap_or(&Value::Null).to_string());
    }
    if let Some(rest) = expression.strip_prefix("index ") {
        let (path, key) = rest.trim().split_once(' ').ok_or("wrong number of args for index")?;
        let within = field(path).unwrap_or(&Value::Null);
        return match key.trim().parse::<usize>() {
            Ok(n) => within
                .get(n)
                .map(|found| plain(Some(found)))
                .ok_or_else(|| format!("error calling index: reflect: slice index out of range: {n}")),
            Err(_) => Ok(within.get(key.trim().trim_matches('"')).map(|found| plain(Some(found))).unwrap_or_default()),
        };
    }
    if expression.starts_with('.') { Ok(plain(field(expression))) } else { Err("function not rehearsed".into()) }
}
