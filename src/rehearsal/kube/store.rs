//! The generic object store: objects by resource, namespace and name, a global resourceVersion, and a bounded
//! history of events for watches and paging.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::Status;
use super::resources::{self, Resource};
use crate::clock::Clock;

/// Events kept per resource. Older resourceVersions are answered with 410.
pub const HISTORY: usize = 2000;

/// A handle on the objects; clones are the same store.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    clock: Clock,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

pub(super) type Key = (String, String);
type Objects = BTreeMap<Key, Arc<Value>>;

struct State {
    version: u64,
    random: fastrand::Rng,
    shelves: BTreeMap<&'static str, Shelf>,
}

/// All objects of one resource, and what happened to them.
#[derive(Default)]
struct Shelf {
    objects: Objects,
    history: VecDeque<Event>,
    /// Versions up to here are no longer in the history.
    compacted: u64,
}

/// One change of one object.
#[derive(Debug, Clone)]
pub struct Event {
    pub version: u64,
    /// The object after the change; for a deletion its last state, with the version of the deletion.
    pub object: Arc<Value>,
    pub deleted: bool,
    /// The object before; `None` when it was created.
    pub previous: Option<Arc<Value>>,
}

/// What a deletion does with the objects that the deleted one owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Propagation {
    /// They go too (here at once, as with `Foreground`).
    #[default]
    Background,
    /// They stay, and forget their owner.
    Orphan,
}

/// Conditions on a write; all optional.
#[derive(Debug, Clone, Default)]
pub struct Preconditions {
    pub uid: Option<String>,
    pub version: Option<String>,
}

impl Store {
    /// An empty store. uids come from a fixed seed: the same story has the same uids.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let state = State { version: 1, random: fastrand::Rng::with_seed(0x6b75_6265), shelves: BTreeMap::new() };
        Self(Arc::new(Inner { clock, state: Mutex::new(state), changed: watch::Sender::new(1) }))
    }

    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// World time in the form of the API: RFC 3339, whole seconds.
    #[must_use]
    pub fn timestamp(&self) -> String {
        self.0.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// Wakes at each change of anything; the value is the latest resourceVersion.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// The latest resourceVersion.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.lock().version
    }

    /// The resourceVersion of the latest change among these resources; deletions count.
    #[must_use]
    pub fn last_change(&self, resources: &[&str]) -> u64 {
        let state = self.lock();
        let latest = |res: &&str| state.shelves.get(*res)?.history.back().map(|event| event.version);
        resources.iter().filter_map(latest).max().unwrap_or(0)
    }

    /// One object. `ns` is empty for resources without a namespace.
    #[must_use]
    pub fn get(&self, res: &str, ns: &str, name: &str) -> Option<Arc<Value>> {
        self.lock().shelves.get(res)?.objects.get(&key(ns, name)).cloned()
    }

    /// All objects of a resource, by namespace and name.
    #[must_use]
    pub fn list(&self, res: &str, ns: Option<&str>) -> Vec<Arc<Value>> {
        self.snapshot(res, ns, None).map(|(objects, _)| objects).unwrap_or_default()
    }

    /// The objects as they were at version `at` (now if `None`), and that version; 410 if it is forgotten.
    pub(super) fn snapshot(
        &self,
        res: &str,
        ns: Option<&str>,
        at: Option<u64>,
    ) -> Result<(Vec<Arc<Value>>, u64), Status> {
        let state = self.lock();
        let Some(shelf) = state.shelves.get(res) else { return Ok((Vec::new(), at.unwrap_or(state.version))) };
        let inside = |key: &Key| ns.is_none_or(|ns| key.0 == ns);
        let pick = |objects: &Objects| {
            objects.iter().filter(|(key, _)| inside(key)).map(|(_, object)| object.clone()).collect()
        };
        let Some(at) = at.filter(|at| *at < state.version) else { return Ok((pick(&shelf.objects), state.version)) };
        Ok((pick(&shelf.at(at)?), at))
    }

    /// What happened to a resource after version `after`, and the latest version; 410 if that is forgotten.
    pub(super) fn events_since(&self, res: &str, after: u64) -> Result<(Vec<Event>, u64), Status> {
        let state = self.lock();
        let Some(shelf) = state.shelves.get(res) else { return Ok((Vec::new(), state.version)) };
        if after < shelf.compacted {
            return Err(too_old(after, shelf.compacted));
        }
        let fresh = shelf.history.partition_point(|event| event.version <= after);
        Ok((shelf.history.range(fresh..).cloned().collect(), state.version))
    }

    /// Creates an object. Fills name (from generateName), uid, creationTimestamp (if absent: a story may set one in
    /// the past), resourceVersion, generation and defaults.
    pub fn create(&self, res: &str, object: Value) -> Result<Arc<Value>, Status> {
        self.create_or_try(res, object, false)
    }

    pub(super) fn create_or_try(&self, res: &str, object: Value, dry_run: bool) -> Result<Arc<Value>, Status> {
        let resource = known(res)?;
        let mut state = self.lock();
        let (key, object) = self.prepare(&mut state, resource, object)?;
        if state.shelf(resource).objects.contains_key(&key) {
            return Err(Status::already_exists(resource, &key.1));
        }
        if dry_run {
            return Ok(Arc::new(object));
        }
        let stored = state.record(resource, key, Some(object), None);
        self.tell(&state);
        Ok(stored)
    }

    /// Fills in what the server fills in at creation.
    fn prepare(&self, state: &mut State, resource: &Resource, mut object: Value) -> Result<(Key, Value), Status> {
        if !object.is_object() {
            return Err(Status::bad_request("the object is not a map"));
        }
        object["apiVersion"] = json!(storage_version(resource));
        object["kind"] = json!(resource.kind);
        if !object["metadata"].is_object() {
            object["metadata"] = json!({});
        }
        let uid = state.uid();
        let suffix = state.suffix();
        let meta = &mut object["metadata"];
        if meta["name"].as_str().unwrap_or_default().is_empty() {
            let Some(prefix) = meta["generateName"].as_str().filter(|prefix| !prefix.is_empty()) else {
                let why = "Required value: name or generateName is required";
                return Err(Status::invalid(resource, "", "metadata.name", why));
            };
            meta["name"] = json!(format!("{prefix}{suffix}"));
        }
        let namespace = if resource.namespaced {
            meta["namespace"].as_str().filter(|ns| !ns.is_empty()).unwrap_or("default").to_owned()
        } else {
            String::new()
        };
        if resource.namespaced {
            meta["namespace"] = json!(namespace);
        }
        meta["uid"] = json!(uid);
        if !meta["creationTimestamp"].is_string() {
            meta["creationTimestamp"] = json!(self.timestamp());
        }
        if resource.generations() {
            meta["generation"] = json!(1);
        }
        super::defaults::fill(resource, &mut object);
        drop_nulls(&mut object["metadata"]);
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        Ok(((namespace, name), object))
    }

    /// Changes one object. A change that changes nothing keeps its version.
    pub fn modify(
        &self,
        res: &str,
        ns: &str,
        name: &str,
        change: impl FnOnce(&mut Value),
    ) -> Result<Arc<Value>, Status> {
        self.transact(res, ns, name, false, |object| {
            change(object);
            Ok(())
        })
    }

    /// As [`Store::modify`], of what a client asks for: the API server refuses what is invalid, and changes of what never changes.
    pub fn update(
        &self,
        res: &str,
        ns: &str,
        name: &str,
        change: impl FnOnce(&mut Value),
    ) -> Result<Arc<Value>, Status> {
        let resource = known(res)?;
        self.transact(res, ns, name, false, |object| {
            let old = object.clone();
            change(object);
            super::validate::update(resource, object)?;
            super::validate::unchanged(resource, &old, object)
        })
    }

    /// As [`Store::modify`], with a change that may refuse, and that is only tried when `dry_run`.
    pub(super) fn transact(
        &self,
        res: &str,
        ns: &str,
        name: &str,
        dry_run: bool,
        change: impl FnOnce(&mut Value) -> Result<(), Status>,
    ) -> Result<Arc<Value>, Status> {
        let resource = known(res)?;
        let mut state = self.lock();
        let (key, old) = state.existing(resource, ns, name)?;
        let mut new = (*old).clone();
        change(&mut new)?;
        keep_identity(&old, &mut new);
        super::defaults::fill(resource, &mut new);
        if *old == new {
            return Ok(old);
        }
        if resource.generations() && spec_changed(resource, &old, &new) {
            new["metadata"]["generation"] = json!(old["metadata"]["generation"].as_u64().unwrap_or(0) + 1);
        }
        if dry_run {
            return Ok(Arc::new(new));
        }
        let stored = state.record(resource, key, Some(new), Some(old));
        self.tell(&state);
        Ok(stored)
    }

    /// Deletes one object and what it owns; returns its last state.
    pub fn delete(&self, res: &str, ns: &str, name: &str) -> Result<Arc<Value>, Status> {
        self.delete_with(res, ns, name, Propagation::Background, &Preconditions::default(), false)
    }

    /// As [`Store::delete`], with the options of the API.
    pub fn delete_with(
        &self,
        res: &str,
        ns: &str,
        name: &str,
        propagation: Propagation,
        conditions: &Preconditions,
        dry_run: bool,
    ) -> Result<Arc<Value>, Status> {
        let resource = known(res)?;
        let mut state = self.lock();
        let (key, old) = state.existing(resource, ns, name)?;
        conditions.check(resource, &old)?;
        if dry_run {
            return Ok(old);
        }
        let last = state.record(resource, key, None, Some(old.clone()));
        if resource.plural == "namespaces" {
            state.empty_namespace(name);
        }
        if let Some(uid) = old["metadata"]["uid"].as_str() {
            state.collect_garbage(uid, propagation, self.0.clock.now());
        }
        self.tell(&state);
        Ok(last)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, state: &State) {
        self.0.changed.send_replace(state.version);
    }
}

impl State {
    fn shelf(&mut self, resource: &Resource) -> &mut Shelf {
        self.shelves.entry(storage(resource)).or_default()
    }

    /// One object, with its key; 404 where there is none.
    fn existing(&mut self, resource: &'static Resource, ns: &str, name: &str) -> Result<(Key, Arc<Value>), Status> {
        let key = key(ns, name);
        let found = self.shelf(resource).objects.get(&key).cloned();
        found.map(|object| (key, object)).ok_or_else(|| Status::not_found(resource, name))
    }

    /// Puts the next version of one object in place and into the history.
    fn record(&mut self, resource: &Resource, key: Key, new: Option<Value>, old: Option<Arc<Value>>) -> Arc<Value> {
        self.version += 1;
        let version = self.version;
        let deleted = new.is_none();
        let mut object = new.or_else(|| old.as_deref().cloned()).unwrap_or_default();
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let object = Arc::new(object);
        let shelf = self.shelf(resource);
        if deleted {
            shelf.objects.remove(&key);
        } else {
            shelf.objects.insert(key, object.clone());
        }
        shelf.history.push_back(Event { version, object: object.clone(), deleted, previous: old });
        if shelf.history.len() > HISTORY
            && let Some(forgotten) = shelf.history.pop_front()
        {
            shelf.compacted = forgotten.version;
        }
        object
    }

    fn empty_namespace(&mut self, ns: &str) {
        self.remove_where(|key, _| key.0 == ns);
    }

    fn collect_garbage(&mut self, owner: &str, propagation: Propagation, now: Timestamp) {
        if propagation == Propagation::Orphan {
            for (resource, key, object) in self.select(|_, object| owned_by(object, owner)) {
                let mut freed = (*object).clone();
                if let Some(owners) = freed["metadata"]["ownerReferences"].as_array_mut() {
                    owners.retain(|reference| reference["uid"] != owner);
                }
                self.record(resource, key, Some(freed), Some(object));
            }
            return;
        }
        for (resource, key, pod) in self.select(|_, object| owned_by(object, owner) && on_a_node(object)) {
            if pod["metadata"]["deletionTimestamp"].is_null() {
                let mut ending = (*pod).clone();
                end(&mut ending, grace_of(&pod), now);
                self.record(resource, key, Some(ending), Some(pod));
            }
        }
        for uid in self.remove_where(|_, object| owned_by(object, owner) && !on_a_node(object)) {
            self.collect_garbage(&uid, propagation, now);
        }
    }

    /// Removes what matches; returns the uids of the removed.
    fn remove_where(&mut self, matches: impl Fn(&Key, &Value) -> bool) -> Vec<String> {
        let mut removed = Vec::new();
        for (resource, key, object) in self.select(matches) {
            removed.extend(object["metadata"]["uid"].as_str().map(str::to_owned));
            self.record(resource, key, None, Some(object));
        }
        removed
    }

    fn select(&self, matches: impl Fn(&Key, &Value) -> bool) -> Vec<(&'static Resource, Key, Arc<Value>)> {
        let mut found = Vec::new();
        for (plural, shelf) in &self.shelves {
            let Some(resource) = resources::by_plural(plural) else { continue };
            let matching = shelf.objects.iter().filter(|(key, object)| matches(key, object));
            found.extend(matching.map(|(key, object)| (resource, key.clone(), object.clone())));
        }
        found
    }

    /// A version 4 UUID.
    fn uid(&mut self) -> String {
        let bits = self.random.u128(..) & !(0xf << 76) & !(0b11 << 62) | (0x4 << 76) | (0b10 << 62);
        let hex = format!("{bits:032x}");
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }

    /// Five characters as Kubernetes draws them (k8s.io/apimachinery/pkg/util/rand): no vowels, no look-alikes.
    fn suffix(&mut self) -> String {
        const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        (0..5).map(|_| char::from(ALPHABET[self.random.usize(..ALPHABET.len())])).collect()
    }
}

impl Shelf {
    /// The objects as they were at a version.
    fn at(&self, version: u64) -> Result<Objects, Status> {
        if version < self.compacted {
            return Err(too_old(version, self.compacted));
        }
        let mut objects = self.objects.clone();
        for event in self.history.iter().rev().take_while(|event| event.version > version) {
            let key = key_of(&event.object);
            match &event.previous {
                Some(previous) => objects.insert(key, previous.clone()),
                None => objects.remove(&key),
            };
        }
        Ok(objects)
    }
}

impl Preconditions {
    pub(super) fn check(&self, resource: &Resource, object: &Value) -> Result<(), Status> {
        let meta = &object["metadata"];
        let name = meta["name"].as_str().unwrap_or_default();
        for (field, wanted) in [("uid", &self.uid), ("resourceVersion", &self.version)] {
            let Some(wanted) = wanted else { continue };
            if meta[field] != wanted.as_str() {
                let found = meta[field].as_str().unwrap_or_default();
                let why = format!(
                    "the {field} in the precondition ({wanted}) does not match the {field} in record ({found}). The object might have been deleted and then recreated"
                );
                return Err(Status::conflict(resource, name, &why));
            }
        }
        Ok(())
    }
}

/// Whether it is a pod on a node: its kubelet ends it, and then it goes.
pub(super) fn on_a_node(object: &Value) -> bool {
    object["kind"] == "Pod" && object["spec"]["nodeName"].is_string()
}

/// How long a pod may take to end, in seconds.
pub(super) fn grace_of(pod: &Value) -> i64 {
    pod["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30)
}

/// Asks a pod to end.
pub(super) fn end(pod: &mut Value, grace: i64, now: Timestamp) {
    let end = now + std::time::Duration::from_secs(grace.unsigned_abs());
    pod["metadata"]["deletionTimestamp"] = json!(end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
}

fn key(ns: &str, name: &str) -> Key {
    (ns.to_owned(), name.to_owned())
}

/// Namespace and name of an object.
pub(super) fn key_of(object: &Value) -> Key {
    let meta = &object["metadata"];
    key(meta["namespace"].as_str().unwrap_or_default(), meta["name"].as_str().unwrap_or_default())
}

fn known(res: &str) -> Result<&'static Resource, Status> {
    resources::by_plural(res).ok_or_else(|| Status::not_simulated(&format!("the resource {res}")))
}

/// The shelf of a resource: its plural, as one static string for both groups of events.
fn storage(resource: &Resource) -> &'static str {
    resource.plural
}

/// Events are stored as core/v1, whichever group wrote them.
fn storage_version(resource: &Resource) -> String {
    resources::by_plural(resource.plural).unwrap_or(&resources::RESOURCES[0]).api_version()
}

fn owned_by(object: &Value, uid: &str) -> bool {
    object["metadata"]["ownerReferences"].as_array().is_some_and(|owners| owners.iter().any(|o| o["uid"] == uid))
}

fn too_old(version: u64, oldest: u64) -> Status {
    Status::expired(format!("too old resource version: {version} ({oldest})"))
}

/// What no writer may change: identity, and what the server counts.
fn keep_identity(old: &Value, new: &mut Value) {
    for field in ["apiVersion", "kind"] {
        new[field] = old[field].clone();
    }
    if !new["metadata"].is_object() {
        new["metadata"] = json!({});
    }
    for field in ["name", "namespace", "uid", "creationTimestamp", "resourceVersion", "generation", "generateName"] {
        match (&old["metadata"][field], new["metadata"].as_object_mut()) {
            (Value::Null, Some(meta)) => drop(meta.remove(field)),
            (value, Some(meta)) => drop(meta.insert(field.into(), value.clone())),
            (_, None) => {}
        }
    }
    drop_nulls(&mut new["metadata"]);
}

fn drop_nulls(value: &mut Value) {
    if let Some(map) = value.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
}

/// Whether anything but metadata (and status, where that is a subresource) differs.
fn spec_changed(resource: &Resource, old: &Value, new: &Value) -> bool {
    let counts = |name: &str| name != "metadata" && !(name == "status" && resource.status);
    let relevant = |value: &Value| -> Map<String, Value> {
        let fields = value.as_object().into_iter().flatten();
        fields.filter(|(name, _)| counts(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    relevant(old) != relevant(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> Store {
        Store::new(Clock::real())
    }

    #[test]
    fn versions_generations_and_no_ops() {
        let store = store();
        let made =
            store.create("deployments", json!({"metadata": {"name": "a", "namespace": "n"}, "spec": {}})).unwrap();
        assert_eq!(made["metadata"]["generation"], 1);
        let same = store.modify("deployments", "n", "a", |_| {}).unwrap();
        assert_eq!(same["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
        let status = store.modify("deployments", "n", "a", |d| d["status"] = json!({"replicas": 1})).unwrap();
        assert_eq!(status["metadata"]["generation"], 1);
        assert_ne!(status["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
        let spec = store.modify("deployments", "n", "a", |d| d["spec"]["replicas"] = json!(3)).unwrap();
        assert_eq!(spec["metadata"]["generation"], 2);
        let twice = store.create("deployments", json!({"metadata": {"name": "a", "namespace": "n"}})).unwrap_err();
        assert_eq!(twice.reason, "AlreadyExists");
    }

    #[test]
    fn owned_objects_go_with_their_owner_and_orphans_stay() {
        let store = store();
        for orphan in [false, true] {
            let owner = store.create("jobs", json!({"metadata": {"name": "j", "namespace": "n"}})).unwrap();
            let reference = json!([{"uid": owner["metadata"]["uid"], "name": "j", "kind": "Job"}]);
            let pod = json!({"metadata": {"generateName": "j-", "namespace": "n", "ownerReferences": reference}});
            store.create("pods", pod).unwrap();
            let policy = if orphan { Propagation::Orphan } else { Propagation::Background };
            store.delete_with("jobs", "n", "j", policy, &Preconditions::default(), false).unwrap();
            assert_eq!(store.list("pods", Some("n")).len(), usize::from(orphan));
        }
    }

    #[test]
    fn history_is_bounded_and_shows_the_past() {
        let store = store();
        store.create("configmaps", json!({"metadata": {"name": "a", "namespace": "n"}, "data": {"k": "0"}})).unwrap();
        let then = store.version();
        store.modify("configmaps", "n", "a", |cm| cm["data"]["k"] = json!("1")).unwrap();
        store.create("configmaps", json!({"metadata": {"name": "b", "namespace": "n"}})).unwrap();
        let (past, _) = store.snapshot("configmaps", None, Some(then)).unwrap();
        assert_eq!(past.len(), 1);
        assert_eq!(past[0]["data"]["k"], "0");
        assert_eq!(store.events_since("configmaps", then).unwrap().0.len(), 2);
        for n in 0..=HISTORY {
            store.modify("configmaps", "n", "a", |cm| cm["data"]["k"] = json!(n.to_string())).unwrap();
        }
        assert_eq!(store.events_since("configmaps", then).unwrap_err().code, 410);
        assert_eq!(store.snapshot("configmaps", None, Some(then)).unwrap_err().code, 410);
    }
}
