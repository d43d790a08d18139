//! Images of Deployments, written directly: the way past Git, for when Git or Argo CD is down.

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::errors::kube_error;
use super::workloads::Workloads;
use crate::domain::ImageRef;
use crate::error::Result;

/// Who owns what we apply, in the API server's managed fields.
pub const FIELD_MANAGER: &str = "gospel-release";

impl Workloads {
    /// Sets one container's image by server-side apply and nothing else: one request. The same twice is the same as once.
    ///
    /// The patch is identity, container name and image; a typed partial object would carry empty required fields, and with
    /// `force` take them from their owners (kubernetes.io, "Server-Side Apply").
    pub async fn apply_image(&self, deployment: &str, container: &str, image: &ImageRef) -> Result<()> {
        let api: Api<Deployment> = Api::namespaced(self.cluster().client().clone(), self.namespace());
        let patch = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": deployment},
            "spec": {"template": {"spec": {"containers": [{"name": container, "image": image.to_string()}]}}},
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let applied = self.cluster().retry().read(async || {
            let applied = api.patch_metadata(deployment, &params, &Patch::Apply(&patch)).await;
            applied
                .map(|_| ())
                .map_err(|error| kube_error(format!("apply the image of deployment {deployment}"), error))
        });
        applied.await
    }
}
