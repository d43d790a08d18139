//! GitHub's representations. Required properties as in GitHub's own OpenAPI description (github/rest-api-description).

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::rehearsal::git::{Author, CommitInfo};

/// Where links lead: the served base URL and the repository's name.
#[derive(Debug, Clone)]
pub struct Links {
    pub base: String,
    /// `owner/name`.
    pub slug: String,
}

impl Links {
    /// An API address below the repository: `api("/releases/1")`.
    pub fn api(&self, path: &str) -> String {
        format!("{}/repos/{}{path}", self.base, self.slug)
    }

    /// A page for people below the repository.
    pub fn page(&self, path: &str) -> String {
        format!("{}/{}{path}", self.base, self.slug)
    }

    pub fn owner(&self) -> &str {
        self.slug.split('/').next().unwrap_or_default()
    }

    pub fn user(&self, login: &str) -> Value {
        let url = format!("{}/users/{login}", self.base);
        let bot = login.ends_with("-bot");
        let kind = if login == self.owner() {
            "Organization"
        } else if bot {
            "Bot"
        } else {
            "User"
        };
        json!({
            "login": login, "id": user_id(login), "node_id": node("U", user_id(login)),
            "avatar_url": format!("{}/avatars/{login}", self.base), "gravatar_id": "",
            "url": url, "html_url": format!("{}/{login}", self.base),
            "followers_url": format!("{url}/followers"),
            "following_url": format!("{url}/following{{/other_user}}"),
            "gists_url": format!("{url}/gists{{/gist_id}}"),
            "starred_url": format!("{url}/starred{{/owner}}{{/repo}}"),
            "subscriptions_url": format!("{url}/subscriptions"),
            "organizations_url": format!("{url}/orgs"), "repos_url": format!("{url}/repos"),
            "events_url": format!("{url}/events{{/privacy}}"),
            "received_events_url": format!("{url}/received_events"),
            "type": kind, "site_admin": false,
        })
    }

    /// The commit's author or committer as a GitHub user; `null` for a stranger's address.
    fn user_of(&self, author: &Author) -> Value {
        match login_of(author) {
            "" => Value::Null,
            login => self.user(login),
        }
    }

    /// The repository, as it stands inside other objects ("minimal repository").
    pub fn repository(&self) -> Value {
        let name = self.slug.split('/').nth(1).unwrap_or_default();
        let mut repository = json!({
            "id": 731_204_118, "node_id": node("R", 731_204_118), "name": name, "full_name": self.slug,
            "owner": self.user(self.owner()), "private": true, "html_url": self.page(""),
            "description": "Study tools for scripture", "fork": false, "url": self.api(""),
        });
        for (key, path) in REPOSITORY_LINKS {
            repository[*key] = json!(self.api(path));
        }
        repository
    }

    /// The repository with everything that its own address shows.
    pub fn full_repository(&self, pushed: Timestamp) -> Value {
        let mut repository = self.repository();
        let more = json!({
            "clone_url": format!("{}/git/{}.git", self.base, self.slug),
            "git_url": format!("git://127.0.0.1/{}.git", self.slug), "ssh_url": format!("git@127.0.0.1:{}.git", self.slug),
            "svn_url": self.page(""), "mirror_url": null, "homepage": null, "language": "Go", "license": null,
            "default_branch": "main", "forks": 0, "forks_count": 0, "stargazers_count": 0, "watchers": 0,
            "watchers_count": 0, "subscribers_count": 5, "network_count": 0, "size": 512, "open_issues": 0,
            "open_issues_count": 0, "has_issues": true, "has_projects": false, "has_wiki": false, "has_pages": false,
            "has_downloads": false, "has_discussions": false, "archived": false, "disabled": false,
            "visibility": "private", "topics": [], "web_commit_signoff_required": false, "is_template": false,
            "allow_forking": false, "created_at": "2024-12-04T09:00:00Z", "updated_at": at(pushed),
            "pushed_at": at(pushed),
            "permissions": {"admin": false, "maintain": true, "push": true, "triage": true, "pull": true},
        });
        merge(&mut repository, more);
        repository
    }

    pub fn commit(&self, commit: &CommitInfo) -> Value {
        let sha = &commit.sha;
        let person = |author: &Author| json!({"name": author.name, "email": author.email, "date": at(author.at)});
        let parent = |sha: &String| json!({"sha": sha, "url": self.api(&format!("/commits/{sha}")), "html_url": self.page(&format!("/commit/{sha}"))});
        json!({
            "sha": sha, "node_id": format!("C_{}", &sha[..16]),
            "commit": {
                "author": person(&commit.author), "committer": person(&commit.committer),
                "message": commit.message.trim_end(),
                "tree": {"sha": commit.tree, "url": self.api(&format!("/git/trees/{}", commit.tree))},
                "url": self.api(&format!("/git/commits/{sha}")), "comment_count": 0,
                "verification": {
                    "verified": false, "reason": "unsigned", "signature": null, "payload": null, "verified_at": null
                },
            },
            "url": self.api(&format!("/commits/{sha}")), "html_url": self.page(&format!("/commit/{sha}")),
            "comments_url": self.api(&format!("/commits/{sha}/comments")),
            "author": self.user_of(&commit.author), "committer": self.user_of(&commit.committer),
            "parents": commit.parents.iter().map(parent).collect::<Vec<_>>(),
        })
    }

    /// A commit as runs and suites show it ("simple commit").
    pub fn simple_commit(commit: Option<&CommitInfo>) -> Value {
        let Some(commit) = commit else { return Value::Null };
        let person = |author: &Author| json!({"name": author.name, "email": author.email});
        json!({
            "id": commit.sha, "tree_id": commit.tree, "message": commit.message.trim_end(),
            "timestamp": at(commit.committer.at), "author": person(&commit.author),
            "committer": person(&commit.committer),
        })
    }

    /// GitHub's app "GitHub Actions".
    pub fn actions_app(&self) -> Value {
        json!({
            "id": super::state::ACTIONS_APP, "slug": "github-actions", "client_id": "Iv1.05c79e9ad1f6bdfa",
            "node_id": "MDM6QXBwMTUzNjg=", "owner": self.user("github"), "name": "GitHub Actions",
            "description": "Automate your workflow from idea to production",
            "external_url": "https://help.github.com/en/actions", "html_url": "https://github.com/apps/github-actions",
            "created_at": "2018-07-30T09:30:17Z", "updated_at": "2024-04-10T20:33:16Z",
            "permissions": {"actions": "write", "checks": "write", "contents": "write", "deployments": "write"},
            "events": ["check_run", "push", "workflow_run"],
        })
    }

    /// What a ref points at.
    pub fn reference(&self, name: &str, kind: &str, sha: &str) -> Value {
        let plural = if kind == "tag" { "tags" } else { "commits" };
        json!({
            "ref": name, "node_id": format!("REF_{}", &sha[..12]), "url": self.api(&format!("/git/{name}")),
            "object": {"type": kind, "sha": sha, "url": self.api(&format!("/git/{plural}/{sha}"))},
        })
    }
}

/// The addresses of a repository's parts, by property (GitHub's "minimal repository").
const REPOSITORY_LINKS: &[(&str, &str)] = &[
    ("archive_url", "/{archive_format}{/ref}"),
    ("assignees_url", "/assignees{/user}"),
    ("blobs_url", "/git/blobs{/sha}"),
    ("branches_url", "/branches{/branch}"),
    ("collaborators_url", "/collaborators{/collaborator}"),
    ("comments_url", "/comments{/number}"),
    ("commits_url", "/commits{/sha}"),
    ("compare_url", "/compare/{base}...{head}"),
    ("contents_url", "/contents/{+path}"),
    ("contributors_url", "/contributors"),
    ("deployments_url", "/deployments"),
    ("downloads_url", "/downloads"),
    ("events_url", "/events"),
    ("forks_url", "/forks"),
    ("git_commits_url", "/git/commits{/sha}"),
    ("git_refs_url", "/git/refs{/sha}"),
    ("git_tags_url", "/git/tags{/sha}"),
    ("hooks_url", "/hooks"),
    ("issue_comment_url", "/issues/comments{/number}"),
    ("issue_events_url", "/issues/events{/number}"),
    ("issues_url", "/issues{/number}"),
    ("keys_url", "/keys{/key_id}"),
    ("labels_url", "/labels{/name}"),
    ("languages_url", "/languages"),
    ("merges_url", "/merges"),
    ("milestones_url", "/milestones{/number}"),
    ("notifications_url", "/notifications{?since,all,participating}"),
    ("pulls_url", "/pulls{/number}"),
    ("releases_url", "/releases{/id}"),
    ("stargazers_url", "/stargazers"),
    ("statuses_url", "/statuses/{sha}"),
    ("subscribers_url", "/subscribers"),
    ("subscription_url", "/subscription"),
    ("tags_url", "/tags"),
    ("teams_url", "/teams"),
    ("trees_url", "/git/trees{/sha}"),
];

/// A time as GitHub writes it: whole seconds, UTC.
pub fn at(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

pub fn maybe_at(time: Option<Timestamp>) -> Value {
    time.map_or(Value::Null, |time| json!(at(time)))
}

/// An opaque global id.
pub fn node(kind: &str, id: i64) -> String {
    format!("{kind}_kwDO{id:X}")
}

/// The login behind an address of Gospelib's domain; empty for any other.
pub fn login_of(author: &Author) -> &str {
    author.email.strip_suffix("@gospelib.example").unwrap_or_default()
}

/// A user's id: the same name, the same number.
pub fn user_id(login: &str) -> i64 {
    10_000 + login.bytes().fold(7_i64, |sum, byte| (sum * 31 + i64::from(byte)) % 90_000_000)
}

/// Adds the members of `more` to `value`.
pub fn merge(value: &mut Value, more: Value) {
    if let (Some(object), Value::Object(more)) = (value.as_object_mut(), more) {
        object.extend(more);
    }
}
