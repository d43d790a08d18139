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
        let object = holder.get().await?;
        let automated = &object.data["spec"].pointer(holder.policy).cloned().unwrap_or_default()["automated"];
        if automated.is_null() {
            return Ok(());
        }
        let kept = automated.to_string();
        holder
            .patch(&json!({
                "metadata": {"annotations": {PAUSED: kept}, "resourceVersion": object.metadata.resource_version},
                "spec": under(holder.policy, &json!({"automated": null})),
            }))
            .await
    }

    /// Puts back what [`Applications::pause`] took away. Whether there was anything to put back.
    pub async fn unpause(&self, app: &AppState) -> Result<bool> {
        let holder = self.holder(app)?;
        let object = holder.get().await?;
        let kept = object.metadata.annotations.as_ref().and_then(|all| all.get(PAUSED));
        let Some(kept) = kept.and_then(|text| serde_json::from_str::<Value>(text).ok()) else { return Ok(false) };
        holder
            .patch(&json!({
                "metadata": {"annotations": {PAUSED: null}, "resourceVersion": object.metadata.resource_version},
                "spec": under(holder.policy, &json!({"automated": kept})),
            }))
            .await?;
        Ok(true)
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
