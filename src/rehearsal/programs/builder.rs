//! What docker, buildah and podman have in common here: local images that are made of what is in the context, and
//! logins. Everything is in files beside the stand-ins, so that any number of processes may work at once.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::SETTINGS;
use crate::domain::ImageRef;
use crate::rehearsal::aws::{PASSWORD, compose};
use crate::rehearsal::controllers::object::sha256;
use crate::rehearsal::scenario::BuilderFault;

/// What a world tells its builders.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Settings {
    /// Address of the rehearsed AWS, behind which ECR is.
    pub aws: String,
    /// `<account>.dkr.ecr.<region>.amazonaws.com`.
    pub registry: String,
    pub region: String,
    /// Access key in whose name ECR is asked.
    pub access_key: String,
    pub fault: BuilderFault,
}

/// One machine's engine: its settings, its images, its logins.
pub struct Engine {
    pub settings: Settings,
    home: PathBuf,
    /// docker's own directory: `config.json` in it names credential helpers.
    docker: PathBuf,
}

/// A local image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Image {
    /// The first name under which it was built, with its tag.
    pub reference: String,
    pub config: String,
    pub manifest: String,
    pub labels: BTreeMap<String, String>,
    pub platform: String,
    /// `name@digest` of where it was pushed.
    pub pushed: Vec<String>,
}

impl Image {
    /// `sha256:…` of its configuration.
    pub fn id(&self) -> String {
        format!("sha256:{}", sha256(&self.config))
    }

    /// `sha256:…` of its manifest.
    pub fn digest(&self) -> String {
        format!("sha256:{}", sha256(&self.manifest))
    }
}

/// What is to be built.
#[derive(Debug, Default, Clone)]
pub struct Recipe {
    pub file: Option<PathBuf>,
    pub tags: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub arguments: BTreeMap<String, String>,
    pub platform: Option<String>,
    pub target: Option<String>,
    pub context: Option<PathBuf>,
    /// Where the image's id goes.
    pub id_file: Option<PathBuf>,
    pub quiet: bool,
}

/// Why nothing was built.
pub enum Unbuilt {
    /// The context is not there.
    Context(String),
    /// The Dockerfile is not there.
    File(String),
    /// A step failed: its number of all steps, the instruction, what it printed.
    Step(usize, usize, String, String),
    /// Something else: our own trouble.
    Other(String),
}

impl Engine {
    /// The engine whose settings are in this directory.
    pub fn open(home: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(home.join(SETTINGS)).ok()?;
        Some(Self { settings: serde_json::from_str(&text).ok()?, home: home.to_owned(), docker: home.join(".docker") })
    }

    /// The same, of a person whose docker is configured there.
    pub fn configured(self, docker: PathBuf) -> Self {
        Self { docker, ..self }
    }

    /// Whether Amazon's credential helper logs in to a registry by itself.
    pub fn has_helper(&self, registry: &str) -> bool {
        let text = std::fs::read_to_string(self.docker.join("config.json")).unwrap_or_default();
        let config: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        config["credHelpers"][registry] == "ecr-login" || config["credsStore"] == "ecr-login"
    }

    /// Builds what the recipe says: the same files, labels and arguments make the same bytes. Returns the image and the
    /// instructions of its Dockerfile.
    pub fn build(&self, recipe: &Recipe) -> Result<(Image, Vec<String>), Unbuilt> {
        let context = recipe.context.clone().unwrap_or_else(|| PathBuf::from("."));
        if !context.is_dir() {
            return Err(Unbuilt::Context(context.display().to_string()));
        }
        let named = ["Containerfile", "Dockerfile"].map(|name| context.join(name));
        let file = recipe.file.clone().or_else(|| named.iter().find(|file| file.is_file()).cloned());
        let file = file.unwrap_or_else(|| context.join("Dockerfile"));
        let Ok(dockerfile) = std::fs::read_to_string(&file) else {
            return Err(Unbuilt::File(file.display().to_string()));
        };
        let steps: Vec<String> =
            dockerfile.lines().map(str::trim).filter(|line| is_instruction(line)).map(str::to_owned).collect();
        let reference = recipe.tags.first().cloned().unwrap_or_default();
        let title = title_of(&reference);
        if self.settings.fault == BuilderFault::Fails {
            let at = steps.iter().position(|step| step.starts_with("RUN ")).unwrap_or(0);
            let step = steps.get(at).cloned().unwrap_or_default();
            let service = title.rsplit('-').next().unwrap_or_default();
            let said = format!(
                "# gospelib.com/{service}\n./main.go:17:3: undefined: retryAfter\n./main.go:23:9: cannot use \
                 http.StatusServiceUnavailable (untyped int constant 503) as string value in argument to w.Header().Set"
            );
            return Err(Unbuilt::Step(at + 1, steps.len(), step, said));
        }
        let mut sum = Sha256::new();
        sum.update(dockerfile.as_bytes());
        add_files(&mut sum, &context, &context).map_err(|error| Unbuilt::Other(error.to_string()))?;
        let more = (&recipe.arguments, &recipe.platform, &recipe.target);
        sum.update(serde_json::to_vec(&more).unwrap_or_default());
        let layers = [format!("base of {title}"), format!("{title}/{:x}", sum.finalize())];
        let platform = recipe.platform.clone().unwrap_or_else(|| "linux/amd64".into());
        let architecture = platform.split('/').nth(1).unwrap_or("amd64");
        let (config, manifest) = compose(&recipe.labels, &layers, architecture, "build of a person's machine");
        let image = Image { reference, config, manifest, labels: recipe.labels.clone(), platform, pushed: Vec::new() };
        for tag in &recipe.tags {
            self.keep(tag, &image)?;
        }
        if let Some(file) = &recipe.id_file {
            std::fs::write(file, image.id()).map_err(|error| Unbuilt::Other(error.to_string()))?;
        }
        Ok((image, steps))
    }

    fn keep(&self, tag: &str, image: &Image) -> Result<(), Unbuilt> {
        let text = serde_json::to_vec(image).map_err(|error| Unbuilt::Other(error.to_string()))?;
        write(&self.place("images", &with_tag(tag)), &text).map_err(|error| Unbuilt::Other(error.to_string()))
    }

    /// The local image of that name.
    pub fn image(&self, reference: &str) -> Option<Image> {
        let text = std::fs::read_to_string(self.place("images", &with_tag(reference))).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Remembers where an image was pushed.
    pub fn pushed(&self, reference: &str, mut image: Image) {
        let name = with_tag(reference);
        let name = name.rsplit_once(':').map_or(name.as_str(), |(name, _)| name);
        let there = format!("{name}@{}", image.digest());
        if !image.pushed.contains(&there) {
            image.pushed.push(there);
            // An image that is not remembered as pushed is pushed all the same.
            let _ = self.keep(reference, &image);
        }
    }

    /// Logs in to a registry, for `who` (docker, or containers for buildah and podman). False: a wrong password.
    pub fn log_in(&self, who: &str, registry: &str, user: &str, password: &str) -> bool {
        let right = registry == self.settings.registry && user == "AWS" && password == PASSWORD;
        right && write(&self.place("logins", &format!("{who} {registry}")), b"").is_ok()
    }

    pub fn log_out(&self, who: &str, registry: &str) {
        // Whoever was not logged in is logged out.
        let _ = std::fs::remove_file(self.place("logins", &format!("{who} {registry}")));
    }

    pub fn is_logged_in(&self, who: &str, registry: &str) -> bool {
        self.place("logins", &format!("{who} {registry}")).is_file()
    }

    fn place(&self, kind: &str, name: &str) -> PathBuf {
        self.home.join(kind).join(sha256(name))
    }
}

/// Writes a file whole.
fn write(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(dir) = file.parent() {
        std::fs::create_dir_all(dir)?;
    }
    // Each process writes a file of its own first: readers see the old image or the new one, whole.
    let new = file.with_extension(std::process::id().to_string());
    std::fs::write(&new, bytes)?;
    std::fs::rename(new, file)
}

fn is_instruction(line: &str) -> bool {
    line.split(' ').next().is_some_and(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase()))
}

/// `gospelib-gateway` of `registry/gospelib-gateway:tag`.
fn title_of(reference: &str) -> String {
    let name = reference.parse::<ImageRef>().map(|image| image.name).unwrap_or_default();
    name.rsplit('/').next().unwrap_or_default().to_owned()
}

/// A name without a tag means `latest`.
pub fn with_tag(reference: &str) -> String {
    let last = reference.rsplit('/').next().unwrap_or_default();
    if last.contains(':') || reference.contains('@') { reference.to_owned() } else { format!("{reference}:latest") }
}

/// Path, mode and bytes of every file, in order; Git's own directory is not part of a program.
fn add_files(sum: &mut Sha256, root: &Path, dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut entries = std::fs::read_dir(dir)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries.into_iter().filter(|entry| entry.file_name() != ".git") {
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            add_files(sum, root, &path)?;
            continue;
        }
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        let bytes = if kind.is_symlink() {
            std::fs::read_link(&path)?.to_string_lossy().into_owned().into_bytes()
        } else {
            std::fs::read(&path)?
        };
        let executable = kind.is_file() && entry.metadata()?.permissions().mode() & 0o100 != 0;
        sum.update(format!("{name}\0{executable}\0{}\0", bytes.len()));
        sum.update(bytes);
    }
    Ok(())
}

/// Flags of a command, in the forms `--name value`, `--name=value`, `-n value`; and the other words.
pub struct Words {
    pub flags: Vec<(String, String)>,
    pub words: Vec<String>,
}

impl Words {
    /// `valued` and `bare` are the flags that take a value and those that do not; any other is an error.
    pub fn read(args: &[String], valued: &[&str], bare: &[&str]) -> Result<Self, String> {
        let mut read = Self { flags: Vec::new(), words: Vec::new() };
        let mut rest = args.iter();
        while let Some(arg) = rest.next() {
            if !arg.starts_with('-') || arg == "-" {
                read.words.push(arg.clone());
                continue;
            }
            let (name, inline) = match arg.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (arg.as_str(), None),
            };
            if bare.contains(&name) {
                read.flags.push((name.to_owned(), inline.unwrap_or_else(|| "true".into())));
            } else if valued.contains(&name) {
                let value = inline.or_else(|| rest.next().cloned());
                let value = value.ok_or_else(|| format!("flag needs an argument: {name}"))?;
                read.flags.push((name.to_owned(), value));
            } else if name.starts_with("--") {
                return Err(format!("unknown flag: {name}"));
            } else {
                let letter = name.trim_start_matches('-');
                return Err(format!("unknown shorthand flag: '{}' in {name}", letter.get(..1).unwrap_or_default()));
            }
        }
        Ok(read)
    }

    pub fn all<'a>(&'a self, names: &'a [&str]) -> impl Iterator<Item = &'a str> {
        self.flags.iter().filter(|(name, _)| names.contains(&name.as_str())).map(|(_, value)| value.as_str())
    }

    pub fn last(&self, names: &[&str]) -> Option<&str> {
        self.flags.iter().rev().find(|(name, _)| names.contains(&name.as_str())).map(|(_, value)| value.as_str())
    }

    pub fn has(&self, names: &[&str]) -> bool {
        self.last(names).is_some_and(|value| value != "false")
    }

    /// The build that these words ask for.
    pub fn recipe(&self) -> Recipe {
        let pairs = |names: &[&str]| {
            let pair = |text: &str| match text.split_once('=') {
                Some((key, value)) => (key.to_owned(), value.to_owned()),
                None => (text.to_owned(), String::new()),
            };
            self.all(names).map(pair).collect()
        };
        Recipe {
            file: self.last(&["-f", "--file"]).map(PathBuf::from),
            tags: self.all(&["-t", "--tag"]).map(str::to_owned).collect(),
            labels: pairs(&["--label"]),
            arguments: pairs(&["--build-arg"]),
            platform: self.last(&["--platform"]).map(str::to_owned),
            target: self.last(&["--target"]).map(str::to_owned),
            context: self.words.first().map(PathBuf::from),
            id_file: self.last(&["--iidfile"]).map(PathBuf::from),
            quiet: self.has(&["-q", "--quiet"]),
        }
    }
}

/// The password on standard input, without the end of its line.
pub fn password(stdin: &mut dyn Read) -> String {
    let mut text = String::new();
    // What cannot be read is no password.
    let _ = stdin.read_to_string(&mut text);
    text.trim_end_matches(['\n', '\r']).to_owned()
}
