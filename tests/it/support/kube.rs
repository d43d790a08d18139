//! Asking the rehearsed Kubernetes API over TLS, as any client does.

use serde_json::Value;

use super::{ANSWER, World, block_on};

impl World {
    /// The items of a Kubernetes list, asked of the API server over TLS.
    pub fn kube_list(&self, path: &str) -> Vec<Value> {
        self.kube(path)["items"].as_array().cloned().unwrap_or_default()
    }

    /// GET on the rehearsed Kubernetes API, with the kubeconfig's own token and CA.
    pub fn kube(&self, path: &str) -> Value {
        self.kube_ask(&reqwest::Method::GET, path, None)
    }

    /// A patch, as `kubectl patch` sends it.
    pub fn kube_patch(&self, path: &str, patch: &Value) -> Value {
        self.kube_ask(&reqwest::Method::PATCH, path, Some(patch))
    }

    pub fn kube_create(&self, path: &str, object: &Value) -> Value {
        self.kube_ask(&reqwest::Method::POST, path, Some(object))
    }

    pub fn kube_delete(&self, path: &str) {
        self.kube_ask(&reqwest::Method::DELETE, path, None);
    }

    fn kube_ask(&self, method: &reqwest::Method, path: &str, body: Option<&Value>) -> Value {
        let text = std::fs::read_to_string(self.manifest["kubeconfig"].as_str().expect("kubeconfig")).expect("read it");
        let config: Value = serde_yaml::from_str(&text).expect("a kubeconfig");
        use base64::Engine as _;
        let ca = config["clusters"][0]["cluster"]["certificate-authority-data"].as_str().expect("a CA");
        let ca = base64::engine::general_purpose::STANDARD.decode(ca).expect("base64");
        let server = config["clusters"][0]["cluster"]["server"].as_str().expect("a server");
        let token = config["users"][0]["user"]["token"].as_str().expect("a token");
        // Custom resources have no strategic merge.
        let kind = match *method {
            reqwest::Method::PATCH if path.starts_with("/apis/apps/") => "strategic-merge-patch+json",
            reqwest::Method::PATCH => "merge-patch+json",
            _ => "json",
        };
        block_on(async {
            let client = reqwest::Client::builder()
                .timeout(ANSWER)
                .tls_certs_only([reqwest::Certificate::from_pem(&ca).expect("a PEM certificate")])
                .build()
                .expect("a client");
            let mut last = String::new();
            for _ in 0..20 {
                let mut request = client.request(method.clone(), format!("{server}{path}"));
                if let Some(body) = body {
                    request = request.header("content-type", format!("application/{kind}")).body(body.to_string());
                }
                if let Ok(answer) = request.bearer_auth(token).send().await {
                    let known = answer.status().is_success() || answer.status() == 404;
                    match answer.json::<Value>().await {
                        Ok(value) if known => return value,
                        said => last = format!("{said:?}"),
                    }
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            panic!("{method} {path} never went well: {last}")
        })
    }
}
