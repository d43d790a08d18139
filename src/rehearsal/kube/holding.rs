//! One of several clusters: the same store, of which a client sees only the namespaces that this cluster holds.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

use super::{Status, resources};

/// Whose object a path is about.
#[derive(Debug, PartialEq, Eq)]
enum About<'a> {
    Namespace(&'a str),
    /// All namespaces, or what stands in none.
    All,
    /// Discovery, versions, health, questions about oneself.
    Server,
}

/// Lets through what concerns one of `namespaces`; all, where there is none to choose from.
pub fn holding(router: Router, namespaces: Vec<String>) -> Router {
    if namespaces.is_empty() {
        return router;
    }
    router.layer(middleware::from_fn_with_state(Arc::<[String]>::from(namespaces), pass))
}

async fn pass(State(namespaces): State<Arc<[String]>>, request: Request, next: Next) -> Response {
    match about(request.uri().path()) {
        About::Server => next.run(request).await,
        About::Namespace(name) if namespaces.iter().any(|held| held == name) => next.run(request).await,
        About::Namespace(name) => match resources::by_plural("namespaces") {
            Some(resource) => Status::not_found(resource, name).into_response(),
            None => Status::bad_request("no namespaces here").into_response(),
        },
        About::All => Status::not_simulated("what spans the namespaces of one cluster among several").into_response(),
    }
}

fn about(path: &str) -> About<'_> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let rest = match parts.as_slice() {
        ["api", _, rest @ ..] => rest,
        ["apis", "authorization.k8s.io" | "authentication.k8s.io", ..] => return About::Server,
        ["apis", _, _, rest @ ..] => rest,
        _ => return About::Server,
    };
    match rest {
        [] => About::Server,
        ["namespaces", name, ..] => About::Namespace(name),
        _ => About::All,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_whose_it_is() {
        for (path, whose) in [
            ("/version", About::Server),
            ("/apis/external-secrets.io", About::Server),
            ("/apis/apps/v1", About::Server),
            ("/api/v1/namespaces/gospelib-staging", About::Namespace("gospelib-staging")),
            ("/apis/apps/v1/namespaces/argocd/deployments", About::Namespace("argocd")),
            ("/api/v1/namespaces", About::All),
            ("/api/v1/pods", About::All),
        ] {
            assert_eq!(about(path), whose, "{path}");
        }
    }
}
