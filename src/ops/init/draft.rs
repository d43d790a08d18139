//! The file that is drafted: values, each with the place that it is from, and questions.

use serde::Serialize;

use crate::domain::printable;

/// The sections, in the order in which people read them.
const ORDER: [&str; 10] =
    ["project", "repository", "workflow", "services", "apps", "images", "staging", "production", "argo", "provision"];

/// A file that is drafted.
#[derive(Debug, Default)]
pub(super) struct Draft {
    values: Vec<Found>,
    services: Vec<Service>,
    apps: Vec<App>,
    /// What was not found.
    pub questions: Vec<Question>,
}

/// A value that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Found {
    /// `production.aws.account`.
    pub key: String,
    pub value: String,
    /// Where it is from: a file, or what Git says.
    pub from: String,
}

/// What a person has to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Question {
    pub key: String,
    pub ask: String,
}

#[derive(Debug)]
struct Service {
    name: String,
    from: String,
    migrations: Option<String>,
}

#[derive(Debug)]
struct App {
    name: String,
    kind: &'static str,
    path: String,
    from: String,
}

impl Draft {
    /// A value. The first place that says something is believed.
    pub fn value(&mut self, key: &str, value: impl Into<String>, from: impl Into<String>) {
        if !self.knows(key) {
            self.values.push(Found { key: key.to_owned(), value: value.into(), from: from.into() });
        }
    }

    pub fn knows(&self, key: &str) -> bool {
        self.values.iter().any(|value| value.key == key)
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.iter().find(|value| value.key == key).map(|value| value.value.as_str())
    }

    /// A service, with its directory of migrations.
    pub fn service(&mut self, name: &str, from: &str, migrations: Option<String>) {
        self.services.push(Service { name: name.to_owned(), from: from.to_owned(), migrations });
    }

    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.services.iter().map(|service| service.name.as_str())
    }

    /// A front end that ships by itself; `kind` is `amplify` or `eas`.
    pub fn app(&mut self, name: &str, kind: &'static str, path: &str, from: &str) {
        self.apps.push(App { name: name.to_owned(), kind, path: path.to_owned(), from: from.to_owned() });
    }

    /// A question, where the key was not found, and was not asked for before.
    pub fn ask(&mut self, key: &str, ask: &str) {
        if !self.knows(key) && !self.questions.iter().any(|question| question.key == key) {
            self.questions.push(Question { key: key.to_owned(), ask: ask.to_owned() });
        }
    }

    /// All values that were found, services and apps too.
    pub fn found(&self) -> Vec<Found> {
        let listed =
            |key: &str, name: &str, from: &str| Found { key: key.into(), value: name.into(), from: from.into() };
        let services = self.services.iter().map(|service| listed("services[].name", &service.name, &service.from));
        let apps = self.apps.iter().map(|app| listed("apps[].name", &app.name, &app.from));
        self.values.iter().cloned().chain(services).chain(apps).collect()
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let mut out = String::from(
            "# gospel-release.yaml, drafted by looking at the repository: each value says where it is from.\n\
             # What is not here has the default of docs/configuration.md.\n",
        );
        for section in ORDER {
            match section {
                "services" => self.list_services(&mut out),
                "apps" => self.list_apps(&mut out),
                _ => self.section(section, &mut out),
            }
        }
        if !self.questions.is_empty() {
            out.push_str("\n# Questions. Answer those that concern you, at the key that is named.\n");
        }
        for question in &self.questions {
            out.push_str(&format!("# {}: {}\n", printable(&question.key), printable(&question.ask)));
        }
        out
    }

    fn list_services(&self, out: &mut String) {
        if self.services.is_empty() {
            return;
        }
        out.push_str("\nservices:\n");
        for Service { name, from, migrations } in &self.services {
            out.push_str(&format!("  - name: {}  # {}\n", scalar(name), printable(from)));
            if let Some(migrations) = migrations {
                let variable = name.to_uppercase().replace('-', "_");
                out.push_str("    database:\n");
                out.push_str(&format!("      migrations: {}\n", scalar(migrations)));
                out.push_str(&format!(
                    "      url_env: {variable}_PG_URL  # by custom: the variable with production's URL\n"
                ));
                out.push_str(&format!("      staging_url_env: STAGING_{variable}_PG_URL  # by custom\n"));
            }
        }
    }

    fn list_apps(&self, out: &mut String) {
        let none = if self.apps.is_empty() { " []  # no directory under apps/ says how it ships\n" } else { "\n" };
        out.push_str(&format!("\napps:{none}"));
        for App { name, kind, path, from } in &self.apps {
            out.push_str(&format!("  - name: {}  # {}\n", scalar(name), printable(from)));
            out.push_str(&format!("    kind: {kind}\n    path: {}\n", scalar(path)));
        }
    }

    /// A section's values, nested as their keys are.
    fn section(&self, section: &str, out: &mut String) {
        let inside = |key: &str| key == section || key.starts_with(&format!("{section}."));
        let mut values: Vec<&Found> = self.values.iter().filter(|value| inside(&value.key)).collect();
        values.sort_by(|a, b| a.key.cmp(&b.key));
        let mut open: Vec<&str> = Vec::new();
        if !values.is_empty() {
            out.push('\n');
        }
        for value in values {
            let parts: Vec<&str> = value.key.split('.').collect();
            let Some((last, above)) = parts.split_last() else { continue };
            let same = open.iter().zip(above).take_while(|(a, b)| a == b).count();
            open.truncate(same);
            for part in &above[same..] {
                out.push_str(&format!("{}{part}:\n", "  ".repeat(open.len())));
                open.push(part);
            }
            let indent = "  ".repeat(open.len());
            out.push_str(&format!("{indent}{last}: {}  # {}\n", scalar(&value.value), printable(&value.from)));
        }
    }
}

/// A text as YAML: bare where nothing else can be meant.
fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let bare = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(plain)
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    if bare {
        return text.to_owned();
    }
    // YAML has JSON's escapes; what a terminal would act on is escaped too.
    let mut out = String::new();
    for c in serde_json::Value::from(text).to_string().chars() {
        if printable(c.encode_utf8(&mut [0; 4])).chars().eq([c]) {
            out.push(c);
        } else {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_nest_and_say_where_they_are_from() {
        let mut draft = Draft::default();
        draft.value("production.aws.region", "us-east-1", "main.tf:3");
        draft.value("production.aws.account", "418272771234", "main.tf:4");
        draft.value("production.aws.account", "000000000000", "a later place");
        draft.value("production.namespace", "shop-production", "k8s\u{1b}[2J");
        draft.value("project", "shop", "the remote origin");
        draft.service("auth", "services/auth", Some("services/auth/migrations".into()));
        draft.ask("production.cluster.eks", "what is the EKS cluster called?");
        draft.ask("project", "never asked");
        let text = draft.text();
        insta::assert_snapshot!(text, @r#"
        # gospel-release.yaml, drafted by looking at the repository: each value says where it is from.
        # What is not here has the default of docs/configuration.md.

        project: shop  # the remote origin

        services:
          - name: auth  # services/auth
            database:
              migrations: services/auth/migrations
              url_env: AUTH_PG_URL  # by custom: the variable with production's URL
              staging_url_env: STAGING_AUTH_PG_URL  # by custom

        apps: []  # no directory under apps/ says how it ships

        production:
          aws:
            account: "418272771234"  # main.tf:4
            region: us-east-1  # main.tf:3
          namespace: shop-production  # k8s\u{1b}[2J

        # Questions. Answer those that concern you, at the key that is named.
        # production.cluster.eks: what is the EKS cluster called?
        "#);
    }

    #[test]
    fn texts_that_yaml_would_read_otherwise_are_quoted() {
        assert_eq!(
            [scalar("a-b/c.d"), scalar("no"), scalar("017"), scalar("a: b"), scalar("release/v*")].join(" "),
            "a-b/c.d \"no\" \"017\" \"a: b\" \"release/v*\""
        );
        assert_eq!(scalar("a\u{9b}2J\u{202e}"), "\"a\\u009b2J\\u202e\"");
    }
}
