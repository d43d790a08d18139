//! Argo CD on the days on which somebody else changes production, and on its own bad days.

use serde_json::{Value, json};

use super::object::{condition, text, time};
use super::tests::Stage;

const SPACE: &str = "gospelib-production";

/// Somebody sets the gateway's image by hand.
fn by_hand(stage: &Stage, tag: &str) {
    let image = format!("{}/gospelib-gateway:{tag}", stage.world.shape.registry());
    let set = |d: &mut Value| d["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
    stage.world.kube.modify("deployments", SPACE, "gospelib-gateway", set).unwrap();
}

fn image(stage: &Stage) -> String {
    let deployment = stage.get("deployments", SPACE, "gospelib-gateway");
    text(&deployment, "/spec/template/spec/containers/0/image").to_owned()
}

fn operation(stage: &Stage) -> Value {
    stage.get("applications", "argocd", SPACE)["status"]["operationState"].clone()
}

#[test]
fn self_heal_comes_at_once_and_then_backs_off() {
    let mut stage = Stage::new("{}");
    stage.pass(10);
    let history = stage.get("applications", "argocd", SPACE)["status"]["history"].clone();
    let right = image(&stage);
    for (attempt, wait) in [(1, 0), (2, 2), (3, 6), (4, 18), (5, 54)] {
        let before = operation(&stage);
        let finished = time(&before, "/finishedAt").unwrap();
        by_hand(&stage, "v1.0.0");
        while image(&stage) != right {
            stage.pass(1);
        }
        stage.pass(1);
        let healed = operation(&stage);
        assert_eq!(healed["operation"]["sync"]["autoHealAttemptsCount"], attempt);
        assert_eq!(healed["operation"]["sync"]["resources"].as_array().unwrap().len(), 1, "a partial sync");
        let waited = time(&healed, "/startedAt").unwrap().duration_since(finished).as_secs();
        assert!(attempt == 1 || (wait..wait + 4).contains(&waited), "attempt {attempt} after {waited} s");
    }
    assert_eq!(stage.get("applications", "argocd", SPACE)["status"]["history"], history);
    stage.pass(400);
    by_hand(&stage, "v1.0.0");
    stage.pass(8);
    assert_eq!(operation(&stage)["operation"]["sync"]["autoHealAttemptsCount"], 1, "a new beginning");
}

#[test]
fn an_argo_that_is_down_takes_nothing_in() {
    let mut stage = Stage::new("{argo: {down: true}}");
    let before = stage.get("applications", "argocd", SPACE);
    let commit = stage.release();
    let ask = |app: &mut Value| app["metadata"]["annotations"] = json!({ super::argo::REFRESH: "normal" });
    stage.world.kube.modify("applications", "argocd", SPACE, ask).unwrap();
    stage.pass(600);
    let app = stage.get("applications", "argocd", SPACE);
    assert_eq!(app["status"], before["status"], "reconciledAt stands still");
    assert_eq!(app["metadata"]["annotations"][super::argo::REFRESH], "normal");
    stage.world.switches.switch("argo-down", false).unwrap();
    stage.pass(240);
    let app = stage.get("applications", "argocd", SPACE);
    assert_eq!(app["status"]["sync"]["revision"], commit.as_str());
    assert_eq!(app["status"]["health"]["status"], "Healthy");
}

#[test]
fn without_git_nothing_is_compared_or_reverted() {
    let mut stage = Stage::new("{git_down: true}");
    stage.pass(60);
    assert_eq!(stage.get("applications", "argocd", SPACE)["status"]["sync"]["status"], "Synced", "from its cache");
    stage.pass(240);
    let app = stage.get("applications", "argocd", SPACE);
    assert_eq!(app["status"]["sync"]["status"], "Unknown");
    assert!(text(condition(&app, "ComparisonError").unwrap(), "/message").ends_with("status code: 503"));
    let right = image(&stage);
    by_hand(&stage, "v1.0.0");
    stage.pass(120);
    assert_ne!(image(&stage), right, "what is not OutOfSync is not healed");
    stage.world.switches.switch("git-down", false).unwrap();
    stage.pass(60);
    assert_eq!(image(&stage), right);
    assert!(condition(&stage.get("applications", "argocd", SPACE), "ComparisonError").is_none());
}
