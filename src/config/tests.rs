//! The layers together: what is read, what is refused, and how it is told.

use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::load::{FileSource, Loaded, Sources, load};
use super::{Config, Env, Origin, show, span};
use crate::error::{Error, Kind, Result};
use crate::ui::style::Style;

/// Loads a text as `gospel-release.yaml` of an empty checkout.
fn load_text(text: &[u8], vars: &[(&str, &str)], sets: &[&str]) -> Result<Loaded> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("gospel-release.yaml"), text).unwrap();
    load_in(dir.path(), FileSource::Search, vars, sets)
}

fn load_in(dir: &FilePath, file: FileSource, vars: &[(&str, &str)], sets: &[&str]) -> Result<Loaded> {
    let env: Env = vars.iter().copied().collect();
    let sets = sets.iter().map(|set| (*set).to_owned()).collect();
    load(&Sources { env: &env, cwd: dir.to_path_buf(), file, sets })
}

fn refused(text: &str) -> String {
    let error = load_text(text.as_bytes(), &[], &[]).expect_err(text);
    assert_eq!(error.kind(), Kind::Config);
    told(&error)
}

fn told(error: &Error) -> String {
    crate::ui::error::text(error, Style::plain())
}

#[test]
fn an_empty_file_is_the_runbook() {
    for text in ["", "# nothing yet\n", "---\n", "gates:\nwatch:\n  # for: 30m\n", "\u{feff}{}\r\n"] {
        assert_eq!(load_text(text.as_bytes(), &[], &[]).unwrap().config, Config::default(), "{text:?}");
    }
}

#[test]
fn every_default_round_trips_through_yaml_and_the_schema() {
    let text = serde_yaml::to_string(&Config::default()).unwrap();
    let loaded = load_text(text.as_bytes(), &[], &[]).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert!(loaded.settings.iter().all(|setting| matches!(setting.origin, Origin::File { .. })), "{loaded:#?}");
}

#[test]
fn layers_lie_over_each_other_and_every_value_knows_its_origin() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home/gospel-release");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(home.join("config.yaml"), "gates:\n  window: 30m\nwatch: {for: 2h}\n").unwrap();
    let repository = "production:\r\n  namespace: shop\r\ngates:\r\n  soak: 12h\r\n  window: 5m\r\n";
    std::fs::write(dir.path().join("gospel-release.yaml"), repository).unwrap();
    let below = dir.path().join("services/gateway");
    std::fs::create_dir_all(&below).unwrap();
    let home = dir.path().join("home").display().to_string();
    let vars = [
        ("XDG_CONFIG_HOME", home.as_str()),
        ("GOSPEL_RELEASE_PRODUCTION__AWS__ACCOUNT", "012345678901"),
        ("GOSPEL_RELEASE_WATCH__ERROR_RATIO", "0.02"),
        ("GOSPEL_RELEASE_GITHUB__TOKEN_ENV", "[MY_TOKEN]"),
        ("GOSPEL_RELEASE_LOG", "debug"),
    ];
    let loaded = load_in(&below, FileSource::Search, &vars, &["watch.for=3h", "images.prefix="]).unwrap();
    let config = &loaded.config;
    assert_eq!(config.production.namespace, "shop");
    assert_eq!(config.production.overlay, "infra/k8s/overlays/production", "the rest of a section stays");
    assert_eq!(config.gates.soak, Duration::from_hours(12));
    assert_eq!(config.gates.window, Duration::from_mins(30));
    assert_eq!(config.production.aws.account.as_deref(), Some("012345678901"), "digits stay text");
    assert_eq!(config.github.token_env, ["MY_TOKEN"]);
    assert_eq!(config.watch.lasts, Duration::from_hours(3));
    assert_eq!(config.images.prefix, None);
    assert_eq!(loaded.dir, dir.path());
    let origin = |key: &str| loaded.origin(key).unwrap().to_string().replace(&dir.path().display().to_string(), "");
    assert_eq!(origin("production.namespace"), "/gospel-release.yaml:2:14");
    assert_eq!(origin("gates.soak"), "/gospel-release.yaml:4:9");
    assert_eq!(origin("gates.window"), "/home/gospel-release/config.yaml:2:11");
    assert_eq!(origin("watch.for"), "--set watch.for");
    assert_eq!(origin("watch.error_ratio"), "environment GOSPEL_RELEASE_WATCH__ERROR_RATIO");
    assert_eq!(origin("watch.every"), "default");
}

#[test]
fn a_rehearsed_world_takes_no_real_endpoint_from_files_or_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("gospel-release.yaml"), "project: real\n").unwrap();
    let file = FileSource::Inline { name: "rehearsal".into(), text: "project: rehearsed\n".into() };
    let vars = [("GOSPEL_RELEASE_GITHUB__API", "https://github.real.example")];
    let loaded = load_in(dir.path(), file, &vars, &["watch.for=10m"]).unwrap();
    assert_eq!(loaded.config.project, "rehearsed");
    assert_eq!(loaded.config.github.api, "https://api.github.com");
    assert_eq!(loaded.config.watch.lasts, Duration::from_mins(10));
    assert_eq!(loaded.origin("project").unwrap().to_string(), "rehearsal:1:10");
}

#[test]
fn the_search_ends_at_the_checkout() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("gospel-release.yaml"), "project: other\n").unwrap();
    let checkout = dir.path().join("checkout");
    std::fs::create_dir_all(checkout.join(".git")).unwrap();
    assert_eq!(load_in(&checkout, FileSource::Search, &[], &[]).unwrap().config.project, "gospelib");
    let missing = load_in(&checkout, FileSource::Path("missing.yaml".into()), &[], &[]).unwrap_err();
    assert_eq!(missing.kind(), Kind::Config);
    let vars = [("GOSPEL_RELEASE_CONFIG", "../gospel-release.yaml")];
    assert_eq!(load_in(&checkout, FileSource::Search, &vars, &[]).unwrap().config.project, "other");
}

#[test]
fn all_mistakes_are_told_at_once_with_place_key_and_the_nearest_valid_one() {
    let text = "\
gates:
  soka: 12h
  window: 24
  error_ratio: lots
soak: 3h
production:
  replicas: two
  health:
    reach: {by: portforward}
  aws: {account: 012345678901}
services: gateway
apps:
  - name: web
    kind: amplify
";
    insta::assert_snapshot!(refused(text), @r#"
    error: the configuration has 9 mistakes, and is refused whole
        gospel-release.yaml:2:3: gates.soka: there is no such key; did you mean gates.soak?
        gospel-release.yaml:3:11: gates.window: a duration (24h, 90s, 1h30m) is wanted here, found the number 24: name its unit, as in 24h
        gospel-release.yaml:4:16: gates.error_ratio: a number is wanted here, found the text "lots"
        gospel-release.yaml:5:1: soak: there is no such key; did you mean gates.soak?
        gospel-release.yaml:7:13: production.replicas: a whole number is wanted here, found the text "two"
        gospel-release.yaml:9:17: production.health.reach.by: "portforward" is not one of direct, port-forward, api-proxy, job; did you mean port-forward?
        gospel-release.yaml:10:18: production.aws.account: text is wanted here, found the number 012345678901: put it in quotes, "012345678901"
        gospel-release.yaml:11:11: services: a list is wanted here, found the text "gateway": write it as a list, [a, b]
        gospel-release.yaml:13:5: apps[0]: the key `path` is missing here
    next: docs/configuration.md names every key; `gospel-release config schema` is for editors
    "#);
}

#[test]
fn values_that_are_wrong_together_are_told_at_once() {
    let text = "\
repository: {slug: gospelib, main: -x}
workflow: {file: ../cd.yml}
services:
  - name: gateway
  - name: gateway
    database: {migrations: ../../etc, url_env: 'postgres://u:secret@h/d', staging_url_env: S_URL}
production:
  replicas: 0
  namespace: gospelib-staging
  aws: {account: '123', region: us-east-1}
  cluster: {arn: 'arn:aws:eks:eu-west-1:418272771234:cluster/x'}
  health:
    reach: {by: direct}
  urls: ['https://dana:secret@example.com', 'gospelib.com']
gates: {soak: 0s, error_ratio: 1.5}
watch: {every: 2h}
";
    let told = refused(text);
    assert!(!told.contains("secret@"), "{told}");
    insta::assert_snapshot!(told, @r#"
    error: the configuration has 16 mistakes, and is refused whole
        gospel-release.yaml:1:20: repository.slug: "gospelib" is not owner/name
        gospel-release.yaml:1:36: repository.main: "-x" is not the name of a branch
        gospel-release.yaml:2:18: workflow.file: "../cd.yml" is not the name of a file under .github/workflows/ (it ends in .yml or .yaml)
        gospel-release.yaml:5:11: services[1].name: gateway stands here twice; first as services[0]
        gospel-release.yaml:6:28: services[1].database.migrations: "../../etc" is not a path inside the checkout (relative, without '..')
        gospel-release.yaml:6:48: services[1].database.url_env: the name of an environment variable is wanted (letters, digits and '_'), not its value
        gospel-release.yaml:8:13: production.replicas: it must be at least 1
        gospel-release.yaml:10:18: production.aws.account: an AWS account has 12 digits, found "123"
        gospel-release.yaml:11:18: production.cluster.arn: its account is 418272771234, and aws.account is 123
        gospel-release.yaml:11:18: production.cluster.arn: its region is eu-west-1, and aws.region is us-east-1
        gospel-release.yaml:13:12: production.health.reach: direct needs `url`
        gospel-release.yaml:14:10: production.urls[0]: it holds a user or a password; a configuration holds no secret
        gospel-release.yaml:14:45: production.urls[1]: it is not a URL: relative URL without a base
        gospel-release.yaml:15:15: gates.soak: it must be longer than 0s
        gospel-release.yaml:15:32: gates.error_ratio: a share from 0 to 1 is wanted, found 1.5
        gospel-release.yaml:16:16: watch.every: it must not be longer than watch.for
    next: docs/configuration.md names every key; `gospel-release config schema` is for editors
    "#);
}

#[test]
fn hostile_yaml_is_refused_with_its_place() {
    let cases = [
        ("a: &a [x, x]\nb: &b [*a, *a]\n", "1:4"),
        ("project: *nobody\n", "1:10"),
        ("project: !!str x\n", "1:10"),
        ("project: a\nproject: b\n", "2:1"),
        ("project: a\n---\nproject: b\n", "2:1"),
        ("gates:\n\tsoak: 12h\n", "2:2"),
        ("project: \"a\u{0}b\"\n", "1:12"),
        ("? [a, b]\n: c\n", "1:3"),
        ("project: [unclosed\n", ""),
        ("just a word\n", "1:1"),
        ("- a\n- b\n", "1:1"),
        ("<<: {project: x}\n", "1:1"),
        ("services:\n  - name: ../etc\n", "2:11"),
        ("services:\n  - {name: \"a\\e[31m\"}\n", "2:12"),
    ];
    for (text, place) in cases {
        let told = refused(text);
        assert!(told.contains(&format!("gospel-release.yaml:{place}")), "{text:?} wants {place}:\n{told}");
        assert!(!told.contains('\u{1b}') && !told.contains('\0'), "{told:?}");
    }
    let deep = format!("project: {}{}\n", "[".repeat(5000), "]".repeat(5000));
    assert!(refused(&deep).contains("nested more than 32"));
    let block: Vec<String> = (0..100).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    let block = block.concat();
    assert!(refused(&block).contains("nested more than 32"));
}

#[test]
fn a_megabyte_of_anything_is_answered_in_a_few_lines() {
    let fill = |piece: &dyn Fn(usize) -> String| {
        (0..)
            .map(piece)
            .scan(0, |size, piece| {
                *size += piece.len();
                (*size < 1_000_000).then_some(piece)
            })
            .collect::<String>()
    };
    let cases: [(&str, String); 9] = [
        ("unknown keys", fill(&|n| format!("k{n}: 1\n"))),
        ("the same key", fill(&|_| "project: a\n".into())),
        ("items", format!("services:\n{}", fill(&|n| format!("- name: s{n}\n")))),
        ("flow", format!("project: {{{}}}", fill(&|n| format!("k{n}: [], ")))),
        ("brackets", fill(&|_| "[".into())),
        ("one word", fill(&|_| "a".into())),
        ("quotes", format!("project: \"{}\"", fill(&|_| "\\u0041 ".into()))),
        ("question marks", fill(&|_| "? ".into())),
        ("comments", fill(&|n| format!("# {n}\n"))),
    ];
    for (name, text) in cases {
        if let Err(error) = load_text(text.as_bytes(), &[], &[]) {
            let told = told(&error);
            assert!(told.len() < 20_000, "{name}: {told}");
        }
    }
}

#[test]
fn files_that_are_no_configuration_are_refused() {
    let big = vec![b'#'; 10 * 1024 * 1024];
    let told = load_text(&big, &[], &[]).unwrap_err();
    assert!(told.what().contains("larger than 1 MiB"), "{told:?}");
    let told = load_text(b"project: a\n# \xff\n", &[], &[]).unwrap_err();
    assert!(told.what().ends_with("gospel-release.yaml:2:3: this is not UTF-8 text"), "{told:?}");
    let dir = tempfile::tempdir().unwrap();
    let directory = FileSource::Path(PathBuf::from("."));
    assert_eq!(load_in(dir.path(), directory, &[], &[]).unwrap_err().kind(), Kind::Config);
}

#[test]
fn variables_and_flags_are_told_in_their_own_words() {
    let vars = [("GOSPEL_RELEASE_GATES__SOKA", "12h"), ("GOSPEL_RELEASE_WATCH__FOR", "12")];
    let sets = ["gates.soak", "production.replicas=0x", "services.0.name=a", "watch.evry=1m", "services=[a]"];
    let error = load_text(b"", &vars, &sets).unwrap_err();
    insta::assert_snapshot!(told(&error), @r#"
    error: the configuration has 7 mistakes, and is refused whole
        environment GOSPEL_RELEASE_GATES__SOKA: gates.soka: there is no such key; did you mean GOSPEL_RELEASE_GATES__SOAK?
        environment GOSPEL_RELEASE_WATCH__FOR: watch.for: "12" is not a duration (for example 24h, 90s, 1h30m)
        --set gates.soak: KEY=VALUE is wanted, as in gates.soak=12h
        --set production.replicas: production.replicas: a whole number is wanted here, found the text "0x"
        --set services: services[0]: a section with keys is wanted here, found the text "a"
        --set services.0.name: services: it has no keys of its own; a list is set whole, as in [a, b]
        --set watch.evry: watch.evry: there is no such key; did you mean watch.every?
    next: docs/configuration.md names every key; `gospel-release config schema` is for editors
    "#);
}

#[test]
fn queries_are_taken_from_the_shell_as_they_stand() {
    let query = r#"staging.prometheus.errors=sum by (service) (rate(x{a="b: c"}[5m])) # all"#;
    let loaded = load_text(b"", &[], &[query, r#"argo.namespace="argo""#, "production.cluster={eks: shop}"]).unwrap();
    assert_eq!(loaded.config.staging.prometheus.errors, r#"sum by (service) (rate(x{a="b: c"}[5m])) # all"#);
    assert_eq!(loaded.config.argo.namespace, "argo");
    assert_eq!(loaded.config.production.cluster.eks.as_deref(), Some("shop"));
}

#[test]
fn show_names_unset_values_and_origins_and_no_secret() {
    let vars = [("GH_TOKEN", "ghp_secret"), ("AUTH_PG_URL", "postgres://secret")];
    let loaded = load_text(b"watch: {for: 2h}\n", &vars, &[]).unwrap();
    let text = show::text(&loaded, true);
    assert!(!text.contains("secret"), "{text}");
    let line =
        |key: &str| text.lines().find(|line| line.starts_with(key)).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(line("watch.for"), ["watch.for", "2h", "gospel-release.yaml:1:14"]);
    assert_eq!(line("images.registry"), ["images.registry", "-", "default"]);
    assert_eq!(line("services[1].database.url_env"), ["services[1].database.url_env", "CONTENT_PG_URL", "default"]);
    assert_eq!(line("github.token_env"), ["github.token_env", "[GH_TOKEN,", "GITHUB_TOKEN]", "default"]);
    assert_eq!(show::json(&loaded)["origins"]["watch.for"], "gospel-release.yaml:1:14");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Err(error) = load_text(&bytes, &[], &[]) {
            prop_assert_eq!(error.kind(), Kind::Config);
        }
    }

    #[test]
    fn any_shape_is_read_or_refused(text in r"([ \t]{0,3}(gates|soak|services|- |name|: |\{|\}|\[|\]|&a|\*a|!!|\||>|'|\x22|#|,|\? |---|24h|\n)){0,40}") {
        if let Err(error) = load_text(text.as_bytes(), &[], &[]) {
            prop_assert_eq!(error.kind(), Kind::Config);
        }
    }

    #[test]
    fn durations_round_trip_through_every_layer(seconds in 1_u64..10_000_000) {
        let text = span::format(Duration::from_secs(seconds));
        let loaded = load_text(format!("gates: {{soak: {text}}}\n").as_bytes(), &[], &[&format!("gates.window={text}")]).unwrap();
        prop_assert_eq!(loaded.config.gates.soak, Duration::from_secs(seconds));
        prop_assert_eq!(loaded.config.gates.window, Duration::from_secs(seconds));
    }
}
