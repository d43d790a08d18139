//! From the layers to one checked [`Config`].

use std::path::{Path as FilePath, PathBuf};

use super::problem::{Problem, refuse};
use super::tree::{Node, Path};
use super::{Config, Env, Origin, check, layers, show, validate};
use crate::error::Result;

/// Where the settings are looked for.
#[derive(Debug, Clone)]
pub struct Sources<'a> {
    pub env: &'a Env,
    /// The directory from which `gospel-release.yaml` is searched upward, and to which paths on the command line belong.
    pub cwd: PathBuf,
    pub file: FileSource,
    /// `--set` flags as given: `gates.soak=12h`.
    pub sets: Vec<String>,
}

/// Which file holds the repository's settings.
#[derive(Debug, Clone)]
pub enum FileSource {
    /// `gospel-release.yaml`, upward from the working directory; `GOSPEL_RELEASE_CONFIG` names another.
    Search,
    /// This file (`--config`); it must exist.
    Path(PathBuf),
    /// This text, in place of every file and of the environment (a rehearsed world: no endpoint of a real one may
    /// slip in). Flags still count.
    Inline { name: String, text: String },
}

/// The settings, and where each came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    /// Every value in force, in the model's order, with its origin.
    pub settings: Vec<Setting>,
    /// The directory that relative paths in the configuration belong to.
    pub dir: PathBuf,
    /// The files that were read, lowest layer first.
    pub files: Vec<PathBuf>,
}

/// One value in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// `gates.soak`, `services[0].name`.
    pub key: String,
    /// `null` where it is unset.
    pub value: serde_json::Value,
    pub origin: Origin,
}

impl Loaded {
    /// A path of the configuration, made absolute against [`Loaded::dir`].
    #[must_use]
    pub fn resolve(&self, path: &FilePath) -> PathBuf {
        self.dir.join(path)
    }

    /// Where the value of a key came from; `None` where there is no such key.
    #[must_use]
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        self.settings.iter().find(|setting| setting.key == key).map(|setting| &setting.origin)
    }
}

/// Reads, merges and checks all layers. Nothing outside this machine is contacted.
pub fn load(sources: &Sources<'_>) -> Result<Loaded> {
    let mut tree = layers::defaults()?;
    let mut problems = Vec::new();
    let mut files = Vec::new();
    let mut dir = sources.cwd.clone();

    let mut lay = |tree: Node, layer: Result<Node, Vec<Problem>>| match layer {
        Ok(layer) => {
            let wrong = check::layer(&layer);
            let merged = if wrong.is_empty() { tree.merge(layer) } else { tree };
            problems.extend(wrong);
            merged
        }
        Err(wrong) => {
            problems.extend(wrong);
            tree
        }
    };

    if let FileSource::Inline { name, text } = &sources.file {
        tree = lay(tree, layers::file(text, FilePath::new(name)));
    } else {
        if let Some(file) = repository_file(sources) {
            dir = file.parent().unwrap_or(&sources.cwd).to_path_buf();
            tree = lay(tree, layers::file(&layers::read(&file)?, shown(&file, &sources.cwd)));
            files.push(file);
        }
        if let Some(file) = layers::own_file(sources.env) {
            tree = lay(tree, layers::file(&layers::read(&file)?, &file));
            files.push(file);
        }
        let (nodes, wrong) = layers::environment(sources.env);
        tree = nodes.into_iter().map(Ok).chain([Err(wrong)]).fold(tree, &mut lay);
    }
    let (nodes, wrong) = layers::flags(&sources.sets);
    tree = nodes.into_iter().map(Ok).chain([Err(wrong)]).fold(tree, &mut lay);

    if !problems.is_empty() {
        return Err(refuse(problems));
    }
    let config = model(&tree).map_err(|problem| refuse(vec![problem]))?;
    let problems = validate::all(&config, &tree);
    if !problems.is_empty() {
        return Err(refuse(problems));
    }
    let settings = show::settings(&config, &tree)?;
    Ok(Loaded { config, settings, dir, files })
}

fn repository_file(sources: &Sources<'_>) -> Option<PathBuf> {
    match &sources.file {
        FileSource::Path(path) => Some(sources.cwd.join(path)),
        FileSource::Search => match layers::config_variable(sources.env) {
            Some(path) => Some(sources.cwd.join(path)),
            None => layers::search(&sources.cwd),
        },
        FileSource::Inline { .. } => None,
    }
}

/// A file's name for people: short where it is below the working directory.
fn shown<'a>(file: &'a FilePath, cwd: &FilePath) -> &'a FilePath {
    file.strip_prefix(cwd).unwrap_or(file)
}

/// The merged tree as the model. The layers were checked against the schema: what is still wrong here is a form that
/// only the model's own types know.
fn model(tree: &Node) -> Result<Config, Problem> {
    serde_path_to_error::deserialize(tree.to_json()).map_err(|error| {
        let path = Path::from(error.path());
        Problem::new(tree.origin_near(&path), path.to_string(), error.inner().to_string())
    })
}
