//! Which secrets a release's manifests fetch, by name. A value, and so the keys that are in it, is never read.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use crate::adapters::cluster::ExternalSecretState;

use super::wayback::{Fate, SecretFate};

/// What stands before an ExternalSecret's name where it takes a whole secret, and no key is named.
const WHOLE: &str = "ExternalSecret ";

/// What ExternalSecrets ask for.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Wanted {
    /// What for (a key, or the ExternalSecret that takes all there is), and the secret's name in the store.
    pub secrets: BTreeSet<(String, String)>,
    /// `dataFrom` entries of which names do not tell what they fetch, by ExternalSecret.
    pub found: Vec<(String, Value)>,
    /// ExternalSecrets that cannot be read.
    pub unreadable: BTreeSet<String>,
}

impl Wanted {
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty() && self.found.is_empty() && self.unreadable.is_empty()
    }

    /// What an ExternalSecret of the cluster asks for.
    pub fn add(&mut self, live: &ExternalSecretState) {
        self.secrets.extend(live.keys.iter().cloned());
        live.data_from.iter().for_each(|entry| self.add_from(&live.name, entry));
    }

    /// `spec.dataFrom[]`: `extract` takes a whole secret, `find` whatever fits; a generator stores nothing (external-secrets.io,
    /// "ExternalSecret").
    fn add_from(&mut self, name: &str, entry: &Value) {
        let extracted = entry.pointer("/extract/key").and_then(Value::as_str);
        let generated = entry.pointer("/sourceRef/generatorRef").is_some_and(Value::is_object);
        match extracted {
            Some(remote) => drop(self.secrets.insert((format!("{WHOLE}{name}"), remote.to_owned()))),
            None if generated && entry["find"].is_null() => {}
            None => self.found.push((name.to_owned(), entry.clone())),
        }
    }

    /// What the ExternalSecrets of a file ask for. What is no YAML, or another kind, asks for nothing.
    pub fn add_file(&mut self, text: &str) {
        for document in serde_yaml::Deserializer::from_str(text) {
            // After a syntax error the parser answers with the same error for ever.
            let Ok(value) = serde_yaml::Value::deserialize(document) else { break };
            let Ok(value) = serde_json::to_value(value) else { continue };
            if value["kind"] != "ExternalSecret" {
                continue;
            }
            // A patch of its metadata, for Kustomize.
            if value["spec"].is_null() {
                continue;
            }
            let name = value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("without a name").to_owned();
            match serde_json::from_value::<Spec>(value["spec"].clone()) {
                Ok(spec) => {
                    self.secrets.extend(spec.data.into_iter().map(|datum| (datum.secret_key, datum.remote_ref.key)));
                    spec.data_from.iter().for_each(|entry| self.add_from(&name, entry));
                }
                Err(_) => drop(self.unreadable.insert(name)),
            }
        }
    }
}

/// Whether the cluster fetches by the very entry now, with success: what it finds is what a release finds that asks for the same.
pub(super) fn fetched_now(name: &str, entry: &Value, live: &[ExternalSecretState]) -> bool {
    let same = |secret: &&ExternalSecretState| secret.data_from.iter().any(|now| within(entry, now));
    live.iter().filter(|secret| secret.name == name && secret.current()).any(|secret| same(&secret))
}

/// Whether the cluster fetches a key that a release reads, or (by an ExternalSecret's name) the whole secret that it takes.
pub(super) fn fetched_for(key: &str, remote: &str, live: &[ExternalSecretState]) -> SecretFate {
    if let Some(name) = key.strip_prefix(WHOLE) {
        let same = |entry: &Value| entry.pointer("/extract/key").and_then(Value::as_str) == Some(remote);
        let now = live.iter().any(|secret| secret.name == name && secret.data_from.iter().any(same));
        return SecretFate::found(name, now);
    }
    let fetched = live.iter().flat_map(|secret| &secret.keys).any(|(named, _)| named == key);
    let fate = if fetched {
        // One that is not up to date is told by its own name.
        Fate::There("the cluster fetches it")
    } else if live.iter().any(|secret| !secret.data_from.is_empty()) {
        Fate::NotKnown("no ExternalSecret of the cluster names it; one takes whole secrets, whose keys are not read")
    } else {
        Fate::Lost(format!("no ExternalSecret of the cluster fetches {key} any more, which its code may read"))
    };
    SecretFate { name: key.to_owned(), fate }
}

/// Whether `live` says what `wanted` says; the API server may have filled in defaults.
fn within(wanted: &Value, live: &Value) -> bool {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            wanted.iter().all(|(key, value)| live.get(key).is_some_and(|live| within(value, live)))
        }
        (Value::Array(wanted), Value::Array(live)) => {
            wanted.len() == live.len() && wanted.iter().zip(live).all(|(wanted, live)| within(wanted, live))
        }
        (wanted, live) => wanted == live,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    data: Vec<Datum>,
    #[serde(default)]
    data_from: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Datum {
    secret_key: String,
    remote_ref: Remote,
}

#[derive(Deserialize)]
struct Remote {
    key: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::adapters::cluster::Condition;

    fn read(text: &str) -> Wanted {
        let mut wanted = Wanted::default();
        wanted.add_file(text);
        wanted
    }

    fn external(spec: &str) -> String {
        format!(
            "kind: Deployment\nspec: {{replicas: 2}}\n---\nkind: ExternalSecret\nmetadata: {{name: app}}\nspec: {spec}\n"
        )
    }

    #[test]
    fn the_secrets_of_external_secrets_are_read_and_nothing_else() {
        let pair = |of: &str, remote: &str| (of.to_owned(), remote.to_owned());
        let data = read(&external("{data: [{secretKey: A, remoteRef: {key: gospelib/a}}]}"));
        assert_eq!(data.secrets, BTreeSet::from([pair("A", "gospelib/a")]));
        let rewritten = "{dataFrom: [{extract: {key: gospelib/b}, rewrite: [{regexp: {source: x, target: y}}]}]}";
        assert_eq!(read(&external(rewritten)).secrets, BTreeSet::from([pair("ExternalSecret app", "gospelib/b")]));
        assert!(read("{{ not yaml").is_empty());
        assert!(read("").is_empty() && read("kind: ExternalSecret\nmetadata: {name: app}\n").is_empty());
        let generated = "{dataFrom: [{sourceRef: {generatorRef: {kind: Password, name: p}}}]}";
        assert!(read(&external(generated)).is_empty(), "a generator stores nothing");
    }

    #[test]
    fn what_names_do_not_tell_is_kept_as_not_told() {
        let find = read(&external("{dataFrom: [{find: {name: {regexp: '^gospelib/'}}}]}"));
        assert_eq!(find.found, [("app".to_owned(), json!({"find": {"name": {"regexp": "^gospelib/"}}}))]);
        assert!(!find.is_empty());
        assert_eq!(read(&external("{data: [{secretKey: A}]}")).unreadable, BTreeSet::from(["app".to_owned()]));
        assert_eq!(read(&external("{data: 7}")).unreadable.len(), 1);
    }

    #[test]
    fn what_the_cluster_fetches_by_the_same_entry_is_there() {
        let entry = json!({"find": {"tags": {"app": "gospelib"}}});
        let ready = |status: &str| Condition {
            kind: "Ready".into(),
            status: status.into(),
            reason: String::new(),
            message: String::new(),
            since: None,
        };
        let live = |name: &str, status: &str, entry: Value| ExternalSecretState {
            name: name.into(),
            target: "app".into(),
            keys: Vec::new(),
            data_from: vec![entry],
            ready: Some(ready(status)),
            refreshed_at: None,
            refresh_interval: None,
            generation: 1,
            synced_generation: Some(1),
            api_version: "v1".into(),
        };
        let defaulted = json!({"find": {"tags": {"app": "gospelib"}, "conversionStrategy": "Default"}});
        assert!(fetched_now("app", &entry, &[live("app", "True", defaulted.clone())]));
        assert!(!fetched_now("app", &entry, &[live("app", "False", defaulted.clone())]));
        assert!(!fetched_now("app", &entry, &[live("other", "True", defaulted)]));
        assert!(!fetched_now("app", &entry, &[live("app", "True", json!({"find": {"tags": {"app": "x"}}}))]));
    }
}
