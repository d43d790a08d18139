//! Automated sync, paused and taken up again: on the Application, or on the ApplicationSet that makes it.

use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use super::argo::{AppState, Applications};
use super::errors::kube_error;
use crate::error::{Class, Error, Kind, Result};

/// Annotation that keeps the automated policy while it is paused.
const PAUSED: &str = "gospel-release.dev/paused-sync";

/// The object whose sync policy counts, and where in it the policy stands.
struct Holder {
    api: Api<DynamicObject>,
    name: String,
    kind: &'static str,
    policy: &'static str,
}

impl Applications {
    /// Switches automated sync off, and keeps what it was in an annotation. Paused already is no error.
    ///
    /// # Errors
    /// [`Class::Denied`] when what owns the Application cannot be edited: an edit of the Application alone would be undone
    /// (Argo CD's documentation, "Controlling Resource Modification" of ApplicationSets).
    pub async fn pause(&self, app: &AppState) -> Result<()> {
        let holder = self.holder(app)?;
        let pause = |object: &DynamicObject| {
            let automated = &object.data["spec"].pointer(holder.policy).cloned().unwrap_or_default()["automated"];
            (!automated.is_null()).then(|| (json!(automated.to_string()), json!(null)))
        };
        self.change(&holder, &pause).await.map(drop)
    }

    /// Puts back what [`Applications::pause`] took away. Whether there was anything to put back.
    pub async fn unpause(&self, app: &AppState) -> Result<bool> {
        let holder = self.holder(app)?;
        let unpause = |object: &DynamicObject| {
            let kept = object.metadata.annotations.as_ref()?.get(PAUSED)?;
            Some((json!(null), serde_json::from_str::<Value>(kept).ok()?))
        };
        self.change(&holder, &unpause).await
    }

    /// Whether [`Applications::pause`] took a policy away that was not put back.
    pub async fn is_paused(&self, app: &AppState) -> Result<bool> {
        if app.auto_sync {
            return Ok(false);
        }
        let holder = self.holder(app)?;
        let object = self.cluster().retry().read(async || holder.get().await).await?;
        Ok(object.metadata.annotations.is_some_and(|all| all.contains_key(PAUSED)))
    }

    /// Writes annotation and policy as `change` says of the object as it is now; whether there was anything to write. The
    /// controller writes the same object all the time, so a lost race is run again.
    async fn change(
        &self,
        holder: &Holder,
        change: &(dyn Fn(&DynamicObject) -> Option<(Value, Value)> + Sync),
    ) -> Result<bool> {
        let attempt = self.cluster().retry().read(async || {
            let object = holder.get().await?;
            let Some((kept, automated)) = change(&object) else { return Ok(false) };
            let patch = json!({
                "metadata": {"annotations": {PAUSED: kept}, "resourceVersion": object.metadata.resource_version},
                "spec": under(holder.policy, &json!({"automated": automated})),
            });
            match holder.patch(&patch).await {
                Err(error) if error.is_conflict() => Err(error.class(Class::Transient { retry_after: None })),
                other => other.map(|()| true),
            }
        });
        attempt.await
    }

    fn holder(&self, app: &AppState) -> Result<Holder> {
        let (kind, name, policy) = match app.owner.as_deref().and_then(|owner| owner.split_once('/')) {
            None => ("Application", app.name.clone(), "/syncPolicy"),
            Some(("ApplicationSet", name)) => ("ApplicationSet", name.to_owned(), "/template/spec/syncPolicy"),
            Some((kind, name)) => {
                let what = format!("{} belongs to {kind} {name}, which would undo a paused sync", app.name);
                return Err(Error::new(Kind::Waiting, what)
                    .class(Class::Denied)
                    .hint(format!("switch automated sync off where {kind} {name} gets it from, then try again")));
            }
        };
        let plural = format!("{}s", kind.to_ascii_lowercase());
        let resource = ApiResource {
            group: "argoproj.io".into(),
            version: "v1alpha1".into(),
            api_version: "argoproj.io/v1alpha1".into(),
            kind: kind.into(),
            plural,
        };
        let api = Api::namespaced_with(self.cluster().client().clone(), self.namespace(), &resource);
        Ok(Holder { api, name, kind, policy })
    }
}

impl Holder {
    async fn get(&self) -> Result<DynamicObject> {
        let got = self.api.get(&self.name).await;
        got.map_err(|error| kube_error(format!("get {} {}", self.kind, self.name), error))
    }

    async fn patch(&self, patch: &Value) -> Result<()> {
        let patched = self.api.patch(&self.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        patched
            .map(|_| ())
            .map_err(|error| kube_error(format!("change the sync policy of {} {}", self.kind, self.name), error))
    }
}

/// `value` below a JSON pointer.
fn under(pointer: &str, value: &Value) -> Value {
    pointer.rsplit('/').filter(|part| !part.is_empty()).fold(value.clone(), |inner, part| json!({part: inner}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_nested_as_its_pointer_says() {
        assert_eq!(
            under("/template/spec/syncPolicy", &json!({"automated": null})),
            json!({"template": {"spec": {"syncPolicy": {"automated": null}}}})
        );
    }
}
