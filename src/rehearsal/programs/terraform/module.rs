//! A root module: its files, read and evaluated. What the stand-in cannot evaluate is an error with its place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::hcl::{self, Attribute, Block, Body, Expr};
use super::said::Diagnostic;
use super::schema::{AWS, Schemas};
use super::value::{Attributes, Val};

/// A root module.
#[derive(Debug, Default)]
pub struct Module {
    /// In the order in which they can be evaluated: what is referred to comes first.
    pub resources: Vec<Resource>,
    pub outputs: Vec<Output>,
    variables: BTreeMap<String, Val>,
    locals: BTreeMap<String, Attribute>,
    /// The constraint on the AWS provider's version, where it is needed.
    pub aws: Option<String>,
    /// Its files' texts, which a saved plan carries with it.
    pub files: Vec<(String, String)>,
}

/// A managed resource.
#[derive(Debug)]
pub struct Resource {
    pub kind: String,
    pub name: String,
    values: Vec<(String, Expr)>,
    /// Addresses that it refers to.
    pub depends_on: BTreeSet<String>,
    pub prevent_destroy: bool,
    /// Commands of `local-exec`, and their lines.
    pub provisioners: Vec<(String, usize)>,
    pub place: (String, usize),
}

#[derive(Debug)]
pub struct Output {
    pub name: String,
    value: Expr,
    pub sensitive: bool,
}

type Read<T> = Result<T, Box<Diagnostic>>;

fn wrong<T>(summary: &str, detail: impl Into<String>, place: (&str, usize)) -> Read<T> {
    Err(Box::new(Diagnostic::error(summary, detail).at(place)))
}

fn refused<T>(what: &str, place: (&str, usize)) -> Read<T> {
    let detail = format!(
        "This is the stand-in of a rehearsal. It evaluates resources, variables, locals and outputs with literal values and \
         references; {what} is not among that."
    );
    wrong("Not evaluated in a rehearsal", detail, place)
}

impl Output {
    /// Whether it refers to one of these resources.
    pub fn needs(&self, addresses: &BTreeSet<String>) -> bool {
        self.value.references().iter().any(|names| names.len() > 1 && addresses.contains(&names[..2].join(".")))
    }
}

impl Resource {
    pub fn address(&self) -> String {
        format!("{}.{}", self.kind, self.name)
    }
}

impl Module {
    /// Reads every `.tf` file of a directory; `files` and `given` are what `-var-file` and `-var` name.
    pub fn read(dir: &Path, files: &[String], given: &[String], schemas: &Schemas) -> Read<Self> {
        let mut texts = Vec::new();
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        for name in names.iter().filter(|name| name.ends_with(".tf")) {
            texts.push((name.clone(), text(dir, name)?));
        }
        if names.iter().any(|name| name.ends_with(".tf.json")) {
            return refused("a configuration in JSON", ("", 0));
        }
        if texts.is_empty() {
            return Err(Box::new(Diagnostic::error(
                "No configuration files",
                "Plan requires configuration to be present. Planning without a configuration would mark everything for \
                 destruction, which is normally not what is desired. If you would like to destroy everything, run plan with \
                 the -destroy option. Otherwise, create a Terraform configuration file (.tf file) and try again.",
            )));
        }
        let mut values = Vec::new();
        let automatic = |name: &&String| *name == "terraform.tfvars" || name.ends_with(".auto.tfvars");
        for name in names.iter().filter(automatic).chain(files) {
            let body = hcl(name, &text(dir, name)?)?;
            values.extend(body.attributes.into_iter().map(|one| (one.name, one.value)));
        }
        for one in given {
            let (name, value) = one.split_once('=').unwrap_or((one, ""));
            values.push((name.to_owned(), Expr::Literal(Value::String(value.to_owned()))));
        }
        let texts: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        Self::of(&texts, values, schemas)
    }

    /// The module that these files make.
    pub fn of(texts: &[(&str, &str)], values: Vec<(String, Expr)>, schemas: &Schemas) -> Read<Self> {
        let files = texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let mut module = Self { files, ..Self::default() };
        let given: BTreeMap<String, Expr> = values.into_iter().collect();
        for (file, text) in texts {
            let body = hcl(file, text)?;
            for block in &body.blocks {
                module.block(file, block, &given, schemas)?;
            }
            if let Some(attribute) = body.attributes.first() {
                let detail = format!("An argument named \"{}\" is not expected here.", attribute.name);
                return wrong("Unsupported argument", detail, (file, attribute.line));
            }
        }
        module.order()?;
        Ok(module)
    }

    fn block(&mut self, file: &str, block: &Block, given: &BTreeMap<String, Expr>, schemas: &Schemas) -> Read<()> {
        let place = (file, block.line);
        match (block.kind.as_str(), block.labels.as_slice()) {
            ("terraform", []) => self.settings(file, block),
            ("provider", [_]) => Ok(()),
            ("locals", []) => {
                self.locals.extend(block.body.attributes.iter().map(|one| (one.name.clone(), one.clone())));
                Ok(())
            }
            ("variable", [name]) => {
                if block.body.attribute("sensitive").is_some() {
                    return refused("a sensitive variable", place);
                }
                let default = block.body.attribute("default").map(|default| &default.value);
                let Some(value) = given.get(name).or(default) else {
                    let detail = format!(
                        "The root module input variable \"{name}\" is not set, and has no default value. Use a -var or \
                         -var-file command line argument to provide a value for this variable."
                    );
                    return wrong("No value for required variable", detail, place);
                };
                let value = self.evaluate(value, &BTreeMap::new(), place)?;
                self.variables.insert(name.clone(), value);
                Ok(())
            }
            ("output", [name]) => {
                let Some(value) = block.body.attribute("value") else {
                    return wrong("Missing required argument", "The argument \"value\" is required.", place);
                };
                let secret = block.body.attribute("sensitive").map(|one| &one.value);
                let sensitive = secret == Some(&Expr::Literal(Value::Bool(true)));
                self.outputs.push(Output { name: name.clone(), value: value.value.clone(), sensitive });
                Ok(())
            }
            ("resource", [kind, name]) => {
                let Some(schema) = schemas.get(kind) else {
                    return refused(&format!("a resource of the type {kind}"), place);
                };
                let resource = Resource::read(kind, name, block, file)?;
                if let Some((name, _)) = schema.takes.as_ref().and_then(|known| foreign(&resource, known)) {
                    let line = block.body.attribute(name).map_or(block.line, |attribute| attribute.line);
                    let detail = format!("An argument named \"{name}\" is not expected here.");
                    return wrong("Unsupported argument", detail, (file, line));
                }
                self.resources.push(resource);
                Ok(())
            }
            (kind, _) => refused(&format!("a block {kind:?}"), place),
        }
    }

    fn settings(&mut self, file: &str, block: &Block) -> Read<()> {
        if let Some(backend) =
            block.body.blocks.iter().find(|inner| ["backend", "cloud"].contains(&inner.kind.as_str()))
        {
            return refused("a backend other than the local one", (file, backend.line));
        }
        for providers in block.body.blocks("required_providers") {
            for provider in &providers.body.attributes {
                let Expr::Map(entries) = &provider.value else { continue };
                let text = |wanted: &str| {
                    entries.iter().find_map(|(name, value)| match value {
                        Expr::Literal(Value::String(text)) if name == wanted => Some(text.as_str()),
                        _ => None,
                    })
                };
                if text("source") != Some("hashicorp/aws") {
                    return refused("a provider other than hashicorp/aws", (file, provider.line));
                }
                self.aws = Some(text("version").unwrap_or_default().to_owned());
            }
        }
        Ok(())
    }

    /// Puts what is referred to first.
    fn order(&mut self) -> Read<()> {
        let mut left: Vec<Resource> = std::mem::take(&mut self.resources);
        left.sort_by_key(Resource::address);
        let all: BTreeSet<String> = left.iter().map(Resource::address).collect();
        if let Some(twice) = left.windows(2).find(|two| two[0].address() == two[1].address()) {
            let place = &twice[1].place;
            let detail = format!("A {} resource named \"{}\" was already declared.", twice[1].kind, twice[1].name);
            return wrong("Duplicate resource configuration", detail, (&place.0, place.1));
        }
        for resource in &mut left {
            if let Some(missing) = resource.depends_on.iter().find(|address| !all.contains(*address)) {
                let (kind, name) = missing.split_once('.').unwrap_or((missing, ""));
                let detail =
                    format!("A managed resource \"{kind}\" \"{name}\" has not been declared in the root module.");
                return wrong("Reference to undeclared resource", detail, (&resource.place.0, resource.place.1));
            }
        }
        let mut done = BTreeSet::new();
        while !left.is_empty() {
            let Some(at) = left.iter().position(|one| one.depends_on.is_subset(&done)) else {
                let names: Vec<String> = left.iter().map(Resource::address).collect();
                return wrong(&format!("Cycle: {}", names.join(", ")), "", (&left[0].place.0, left[0].place.1));
            };
            let next = left.remove(at);
            done.insert(next.address());
            self.resources.push(next);
        }
        Ok(())
    }

    /// The arguments of a resource, given the attributes of those before it.
    pub fn arguments(&self, resource: &Resource, known: &BTreeMap<String, Attributes>) -> Read<Attributes> {
        let place = (resource.place.0.as_str(), resource.place.1);
        let evaluated = resource.values.iter().map(|(name, value)| {
            let value = self.evaluate(value, known, place)?;
            Ok((name.clone(), value))
        });
        evaluated.collect()
    }

    /// The variables' values.
    pub fn variables(&self) -> BTreeMap<String, Value> {
        self.variables.iter().map(|(name, value)| (name.clone(), value.json())).collect()
    }

    pub fn resource(&self, address: &str) -> Option<&Resource> {
        self.resources.iter().find(|resource| resource.address() == address)
    }

    pub fn output(&self, output: &Output, known: &BTreeMap<String, Attributes>) -> Read<Val> {
        self.evaluate(&output.value, known, ("", 0))
    }

    fn evaluate(&self, expr: &Expr, known: &BTreeMap<String, Attributes>, place: (&str, usize)) -> Read<Val> {
        Ok(match expr {
            Expr::Literal(value) => Val::of(value),
            Expr::List(items) => {
                Val::List(items.iter().map(|item| self.evaluate(item, known, place)).collect::<Read<_>>()?)
            }
            Expr::Map(entries) => {
                let entry = |(name, value): &(String, Expr)| Ok((name.clone(), self.evaluate(value, known, place)?));
                Val::Map(entries.iter().map(entry).collect::<Read<_>>()?)
            }
            Expr::Template(parts) => {
                let mut text = String::new();
                for part in parts {
                    match self.evaluate(part, known, place)? {
                        Val::Unknown => return Ok(Val::Unknown),
                        Val::Known(Value::String(part)) => text.push_str(&part),
                        Val::Known(part) => text.push_str(&part.to_string()),
                        Val::List(_) | Val::Map(_) => {
                            return wrong(
                                "Invalid template interpolation value",
                                "Cannot include the given value in a string template: string required.",
                                place,
                            );
                        }
                    }
                }
                Val::Known(Value::String(text))
            }
            Expr::Reference(names) => self.reference(names, known, place)?,
        })
    }

    fn reference(&self, names: &[String], known: &BTreeMap<String, Attributes>, place: (&str, usize)) -> Read<Val> {
        let words: Vec<&str> = names.iter().map(String::as_str).collect();
        let (found, rest) = match words.as_slice() {
            ["var", name, rest @ ..] => (self.variables.get(*name).cloned(), rest),
            ["local", name, rest @ ..] => match self.locals.get(*name) {
                Some(local) => (Some(self.evaluate(&local.value, known, place)?), rest),
                None => (None, rest),
            },
            [kind, name, rest @ ..] => {
                let attributes = known.get(&format!("{kind}.{name}"));
                (attributes.map(|attributes| Val::Map(attributes.clone())), rest)
            }
            _ => (None, words.as_slice()),
        };
        let value = rest.iter().try_fold(found, |value, key| Some(value?.at(key).cloned()));
        match value.flatten() {
            Some(value) => Ok(value),
            None => wrong("Unsupported attribute", format!("There is nothing at {}.", names.join(".")), place),
        }
    }
}

impl Resource {
    fn read(kind: &str, name: &str, block: &Block, file: &str) -> Read<Self> {
        let mut resource = Self {
            kind: kind.to_owned(),
            name: name.to_owned(),
            values: arguments(&block.body),
            depends_on: BTreeSet::new(),
            prevent_destroy: false,
            provisioners: Vec::new(),
            place: (file.to_owned(), block.line),
        };
        resource.values.retain(|(name, _)| !["lifecycle", "provisioner", "depends_on"].contains(&name.as_str()));
        for name in ["count", "for_each", "provider"] {
            if let Some(attribute) = block.body.attribute(name) {
                return refused(&format!("{name:?}"), (file, attribute.line));
            }
        }
        for lifecycle in block.body.blocks("lifecycle") {
            for attribute in &lifecycle.body.attributes {
                if attribute.name != "prevent_destroy" {
                    return refused(&format!("{:?} of a lifecycle", attribute.name), (file, attribute.line));
                }
                resource.prevent_destroy = attribute.value == Expr::Literal(Value::Bool(true));
            }
        }
        for provisioner in block.body.blocks("provisioner") {
            let command = provisioner.body.attribute("command").map(|command| &command.value);
            match (provisioner.labels.as_slice(), command) {
                ([kind], Some(Expr::Literal(Value::String(command)))) if kind == "local-exec" => {
                    resource.provisioners.push((command.clone(), provisioner.line));
                }
                _ => return refused("a provisioner other than a local-exec of one command", (file, provisioner.line)),
            }
        }
        let explicit = block.body.attribute("depends_on").map(|attribute| &attribute.value);
        let references = resource.values.iter().map(|(_, value)| value).chain(explicit).flat_map(Expr::references);
        let addresses = references.filter(|names| !["var", "local"].contains(&names[0].as_str()) && names.len() > 1);
        resource.depends_on = addresses.map(|names| names[..2].join(".")).collect();
        Ok(resource)
    }
}

/// Attributes as they are; blocks of a name as a list of objects.
fn arguments(body: &Body) -> Vec<(String, Expr)> {
    let mut values: Vec<(String, Expr)> =
        body.attributes.iter().map(|one| (one.name.clone(), one.value.clone())).collect();
    for block in &body.blocks {
        let inner = Expr::Map(arguments(&block.body));
        match values.iter_mut().find(|(name, _)| *name == block.kind) {
            Some((_, Expr::List(items))) => items.push(inner),
            _ => values.push((block.kind.clone(), Expr::List(vec![inner]))),
        }
    }
    values
}

/// An argument that a type does not take.
fn foreign<'a>(resource: &'a Resource, known: &[String]) -> Option<&'a (String, Expr)> {
    resource.values.iter().find(|(name, _)| !known.contains(name))
}

fn text(dir: &Path, name: &str) -> Read<String> {
    std::fs::read_to_string(dir.join(name)).map_err(|error| {
        let detail = format!("The configuration file \"{name}\" could not be read: {error}.");
        Box::new(Diagnostic::error("Failed to read file", detail))
    })
}

fn hcl(name: &str, text: &str) -> Read<Body> {
    hcl::parse(text)
        .map_err(|wrong| Box::new(Diagnostic::error("Invalid expression", wrong.what).at((name, wrong.line))))
}

/// Whether a type is AWS'.
pub fn is_aws(kind: &str) -> bool {
    kind.starts_with(AWS)
}
