//! AWS' errors as ours: how each may be answered, and the command that mends it.

use std::error::Error as StdError;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::config::http::HttpResponse;
use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};

use crate::error::{Class, Error, Result, chain};

/// Error codes that ask for patience (AWS SDKs and Tools Reference Guide, "Retry behavior"; `LimitExceeded` is not one).
const THROTTLING: [&str; 14] = [
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottledException",
    "RequestThrottled",
    "TooManyRequestsException",
    "ProvisionedThroughputExceededException",
    "TransactionInProgressException",
    "RequestLimitExceeded",
    "BandwidthLimitExceeded",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "SlowDown",
    "EC2ThrottledException",
];
const TRANSIENT: [&str; 6] = [
    "RequestTimeout",
    "RequestTimeoutException",
    "InternalError",
    "InternalFailure",
    "ServerException",
    "ServiceUnavailable",
];
/// The credentials themselves are the trouble.
const CREDENTIALS: [&str; 7] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
    "AuthFailure",
];
const DENIED: [&str; 3] = ["AccessDenied", "AccessDeniedException", "UnauthorizedException"];

/// Our error for a failed call; `what` says what was attempted and on which object.
pub(super) fn sdk_error<E>(what: &str, error: SdkError<E, HttpResponse>, profile: Option<&str>) -> Error
where
    E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
{
    if let Some(cause) = find::<CredentialsError>(&error) {
        return provider_error(what, cause, profile);
    }
    let Some(response) = error.raw_response() else {
        // Nothing came back: refused, reset, timed out, or no name. (A request that could not be built is a defect of ours.)
        let class = match &error {
            SdkError::ConstructionFailure(_) => Class::Terminal,
            _ => Class::Transient { retry_after: None },
        };
        return Error::outside(what).class(class).because(chain(&error));
    };
    let status = response.status().as_u16();
    let retry_after = response.headers().get("retry-after").and_then(|v| v.trim().parse().ok());
    let code = error.code().unwrap_or_default().to_owned();
    let message = error.message().unwrap_or_default().trim().to_owned();
    let shown = match (code.as_str(), message.as_str()) {
        ("", "") => format!("HTTP {status}"),
        ("", message) => format!("HTTP {status}: {message}"),
        (code, "") => format!("{code} (HTTP {status})"),
        (code, message) => format!("{code}: {message}"),
    };
    let class = classify(status, &code, retry_after.map(Duration::from_secs));
    let ours = Error::outside(what).class(class).because(shown.clone());
    if CREDENTIALS.contains(&code.as_str()) {
        return credentials_error(what, shown, profile);
    }
    if class == Class::Denied {
        return ours.hint("docs/permissions.md lists the IAM actions that are needed");
    }
    ours
}

fn classify(status: u16, code: &str, retry_after: Option<Duration>) -> Class {
    if THROTTLING.contains(&code) || TRANSIENT.contains(&code) || status == 429 || status >= 500 {
        return Class::Transient { retry_after };
    }
    if DENIED.contains(&code) || CREDENTIALS.contains(&code) {
        return Class::Denied;
    }
    let missing = code.ends_with("NotFoundException") || code.ends_with("NotFound");
    match status {
        _ if missing => Class::NotFound,
        404 => Class::NotFound,
        401 | 403 => Class::Denied,
        409 => Class::Conflict,
        _ => Class::Terminal,
    }
}

/// Credentials could not be had. What gives them out (an SSO portal, STS, a metadata service) may have a bad moment like
/// everybody else (aws-credential-types, `ProviderError`: "a 503 from STS").
pub(super) fn provider_error(what: &str, error: &CredentialsError, profile: Option<&str>) -> Error {
    let text = chain(error);
    let low = text.to_lowercase();
    let moment = ["dispatch failure", "timed out", "timeout", "connection", "status: 5", "throttl", "toomanyrequests"];
    let passes = match error {
        CredentialsError::ProviderTimedOut(_) => true,
        CredentialsError::ProviderError(_) => !low.contains("expired") && moment.iter().any(|sign| low.contains(sign)),
        _ => false,
    };
    if passes {
        return Error::outside(what).class(Class::Transient { retry_after: None }).because(text);
    }
    credentials_error(what, text, profile)
}

/// Credentials are missing, ended or refused; the hint renews them.
pub(super) fn credentials_error(
    what: &str,
    cause: impl Into<Box<dyn StdError + Send + Sync>>,
    profile: Option<&str>,
) -> Error {
    let cause = cause.into();
    let text = chain(cause.as_ref());
    let low = text.to_lowercase();
    let session = low.contains("sso") || low.contains("expired");
    let error = Error::outside(what).class(Class::Denied).because(text);
    if profile.is_some() || session {
        return error.hint(renewal(profile));
    }
    error.hint("set production.aws.profile (and staging.aws.profile) in gospel-release.yaml, or AWS_PROFILE, then: aws sso login --profile PROFILE")
}

/// The command that renews a session.
pub(super) fn renewal(profile: Option<&str>) -> String {
    match profile {
        Some(profile) => format!("aws sso login --profile {profile}"),
        None => "aws sso login (or renew the session whose credentials are in the environment)".to_owned(),
    }
}

/// The answer, or `None` where AWS says there is no such thing.
pub(super) fn absent_is_none<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_say_how_a_failure_may_be_answered() {
        let wait = Some(Duration::from_secs(3));
        assert_eq!(classify(400, "ThrottlingException", wait), Class::Transient { retry_after: wait });
        assert_eq!(classify(503, "", None), Class::Transient { retry_after: None });
        assert_eq!(classify(400, "ImageNotFoundException", None), Class::NotFound);
        assert_eq!(classify(404, "", None), Class::NotFound);
        assert_eq!(classify(400, "AccessDeniedException", None), Class::Denied);
        assert_eq!(classify(400, "InvalidParameterException", None), Class::Terminal);
    }

    #[test]
    fn ended_credentials_come_with_the_command_that_renews_them() {
        let error = credentials_error("ask", "the SSO session has expired", Some("prod"));
        assert_eq!(error.hints(), ["aws sso login --profile prod"]);
        assert_eq!(error.classified(), Class::Denied);
    }
}
