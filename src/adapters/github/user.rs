//! Who the token is, and what it may.

use serde::{Deserialize, Serialize};

use super::client::{GitHub, denied, parse};
use crate::error::{Class, Result};

/// The token's user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct User {
    /// `None`: a token that is no person's (a workflow's own, an app's).
    pub login: Option<String>,
    /// Scopes of a classic token (`repo`, `workflow`); `None` for other kinds, whose permissions are not told.
    pub scopes: Option<Vec<String>>,
}

/// The repository as the token sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryInfo {
    pub full_name: String,
    pub default_branch: String,
    #[serde(default)]
    pub private: bool,
    #[serde(default)]
    pub archived: bool,
    #[serde(default)]
    pub permissions: Permissions,
}

/// What the token may do in the repository.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Permissions {
    pub admin: bool,
    pub maintain: bool,
    pub push: bool,
    pub pull: bool,
}

#[derive(Deserialize)]
struct WireUser {
    login: String,
}

impl GitHub {
    /// Whose token it is. 401 is an error; 403 is a token without a person behind it.
    pub async fn user(&self) -> Result<User> {
        let answer = match denied(self.read("/user").await)? {
            Ok(answer) => answer,
            Err(error) if error.what().contains("answered 403") => return Ok(User { login: None, scopes: None }),
            Err(error) => return Err(error.class(Class::Denied)),
        };
        let user: WireUser = parse("/user", &answer.body)?;
        let scopes = answer.headers.get("x-oauth-scopes").and_then(|value| value.to_str().ok());
        Ok(User { login: Some(user.login), scopes: scopes.map(split_scopes) })
    }

    /// The repository itself: its true name (it may have been renamed), and what the token may do there.
    pub async fn repository(&self) -> Result<RepositoryInfo> {
        self.get(&format!("/repos/{}", self.slug())).await
    }
}

fn split_scopes(header: &str) -> Vec<String> {
    header.split(',').map(str::trim).filter(|scope| !scope.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_split() {
        assert_eq!(split_scopes("repo, workflow,"), ["repo", "workflow"]);
        assert!(split_scopes("").is_empty());
    }
}
