//! The Kubernetes client's errors as ours.

use std::fmt;
use std::time::Duration;

use crate::error::{Class, Error, chain};

/// An answer 429, with the server's own Retry-After: the client library drops the header.
#[derive(Debug)]
pub(super) struct Throttled {
    pub retry_after: Option<Duration>,
}

impl fmt::Display for Throttled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the API server answers 429 Too Many Requests")
    }
}

impl std::error::Error for Throttled {}

/// Our error for a failed request; `what` says what was attempted and on which object.
pub(in crate::adapters) fn kube_error(what: impl Into<String>, error: kube::Error) -> Error {
    let ours = Error::outside(what);
    match error {
        kube::Error::Api(status) => {
            let wait = status.details.as_ref().map(|d| u64::from(d.retry_after_seconds)).filter(|s| *s > 0);
            let class = classify(status.code, wait.map(Duration::from_secs));
            let ours = match (class, status.code) {
                (Class::Denied, 401) => ours.hint("sign in again: the API server does not accept these credentials"),
                (Class::Denied, _) => ours.hint("docs/permissions.md lists the Kubernetes permissions that are needed"),
                _ => ours,
            };
            let message = if status.message.is_empty() { status.reason.clone() } else { status.message.clone() };
            ours.class(class).because(format!("{} (HTTP {})", message.trim(), status.code))
        }
        kube::Error::Service(cause) => match cause.downcast::<Throttled>() {
            Ok(throttled) => ours.class(Class::Transient { retry_after: throttled.retry_after }).because(throttled),
            // An error of our own sign-in layer passes as it is.
            Err(cause) => match cause.downcast::<Error>() {
                Ok(signing) => signing.context(ours.what()),
                Err(cause) if cause.is::<kube::client::AuthError>() => sign_in_failed(ours),
                Err(cause) => connection(ours, &*cause),
            },
        },
        kube::Error::HyperError(cause) => connection(ours, &cause),
        kube::Error::ReadEvents(cause) => connection(ours, &cause),
        kube::Error::UpgradeConnection(cause) => upgrade(ours, &cause),
        other => {
            let text = chain(&other);
            ours.because(text)
        }
    }
}

/// The kubeconfig's own way of signing in failed. Its text may show the program's environment, where people keep secrets.
fn sign_in_failed(ours: Error) -> Error {
    ours.class(Class::Denied)
        .because("the kubeconfig's way to sign in (a program, a token file or a provider) failed")
        .hint("sign in again, and try: kubectl --context CONTEXT auth whoami")
}

/// How an answer with this HTTP status may be answered.
pub(in crate::adapters) fn classify(status: u16, retry_after: Option<Duration>) -> Class {
    match status {
        404 => Class::NotFound,
        409 | 412 => Class::Conflict,
        401 | 403 => Class::Denied,
        408 | 429 | 500..=599 => Class::Transient { retry_after },
        _ => Class::Terminal,
    }
}

/// No answer at all. A certificate that the pinned authority did not sign does not get better by trying again.
fn connection(ours: Error, cause: &(dyn std::error::Error + 'static)) -> Error {
    let text = chain(cause);
    if text.contains("invalid peer certificate") {
        return ours
            .because(text)
            .hint("the server's certificate is not of the configured cluster: check its CA and URL");
    }
    ours.class(Class::Transient { retry_after: None }).because(text)
}

fn upgrade(ours: Error, cause: &kube::client::UpgradeConnectionError) -> Error {
    let class = match cause {
        kube::client::UpgradeConnectionError::ProtocolSwitch(status) => classify(status.as_u16(), None),
        _ => Class::Terminal,
    };
    ours.class(class).because(cause.to_string())
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use kube::core::response::StatusDetails;

    use super::*;

    fn api(code: u16, wait: u32) -> kube::Error {
        let details: StatusDetails = serde_json::from_value(serde_json::json!({"retryAfterSeconds": wait})).unwrap();
        kube::Error::Api(Status::failure("why", "Reason").with_code(code).with_details(details).boxed())
    }

    #[test]
    fn statuses_become_classes() {
        assert!(kube_error("x", api(404, 0)).is_not_found());
        assert!(kube_error("x", api(409, 0)).is_conflict());
        assert_eq!(kube_error("x", api(403, 0)).classified(), Class::Denied);
        assert_eq!(
            kube_error("x", api(503, 2)).classified(),
            Class::Transient { retry_after: Some(Duration::from_secs(2)) }
        );
        assert_eq!(kube_error("x", api(422, 0)).classified(), Class::Terminal);
        let throttled = kube::Error::Service(Box::new(Throttled { retry_after: Some(Duration::from_secs(1)) }));
        assert!(kube_error("x", throttled).is_transient());
    }

    #[test]
    fn a_failed_sign_in_keeps_its_hint() {
        let ours = Error::outside("find AWS credentials").hint("aws sso login --profile prod");
        let error = kube_error("list pods", kube::Error::Service(Box::new(ours)));
        assert_eq!(error.hints(), ["aws sso login --profile prod"]);
        assert_eq!(error.what(), "list pods");
    }
}
