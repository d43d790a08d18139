//! golang-migrate's table in a real PostgreSQL.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gospel_release::adapters::postgres::{MigrationState, migration_state};

use crate::harness::{Client, Server, eventually, find, free_port, need, skip};

/// PostgreSQL's programs; Debian keeps them off the `PATH`.
fn programs() -> Option<PathBuf> {
    let debian =
        std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|dir| dir.path().join("bin"));
    let mut known: Vec<PathBuf> = debian.filter(|dir| dir.join("initdb").is_file()).collect();
    known.sort();
    let dir = known.pop().or_else(|| Some(find("initdb")?.parent()?.to_owned()));
    if dir.is_none() {
        skip("initdb not installed");
    }
    dir
}

/// A private server with trust for everybody on 127.0.0.1.
fn server(programs: &Path, dir: &Path) -> (Server, u16) {
    let port = free_port();
    let program = |name: &str| programs.join(name).to_str().unwrap().to_owned();
    let data = dir.join("data").to_str().unwrap().to_owned();
    // PostgreSQL refuses to run as root.
    let root = Client::new("id").arg("-u").run().ok().trim() == "0";
    let drop: Vec<String> =
        if root { ["runuser", "-u", "postgres", "--"].map(Into::into).to_vec() } else { Vec::new() };
    if root {
        Client::new("chown").arg("postgres").arg(dir).run().ok();
    }
    let with =
        |own: &[&str]| drop.iter().cloned().chain(own.iter().map(|arg| (*arg).to_owned())).collect::<Vec<String>>();
    let init =
        with(&[&program("initdb"), "-D", &data, "-U", "postgres", "-A", "scram-sha-256", "--no-sync", "--pwfile"]);
    let password = dir.join("password");
    std::fs::write(&password, "s3cret").unwrap();
    if root {
        Client::new("chown").arg("postgres").arg(&password).run().ok();
    }
    Client::new(&init[0]).args(init[1..].iter().map(String::as_str)).arg(password).dir(dir).run().ok();
    let listen = port.to_string();
    let serve = with(&[
        &program("postgres"),
        "-D",
        &data,
        "-k",
        dir.to_str().unwrap(),
        "-h",
        "127.0.0.1",
        "-p",
        &listen,
        "-c",
        "fsync=off",
    ]);
    let args: Vec<&str> = serve[1..].iter().map(String::as_str).collect();
    let server = Server::start(&serve[0], &args, |command| {
        command.current_dir(dir);
    });
    eventually("PostgreSQL is ready", Duration::from_secs(30), || {
        let ready = Client::new(&program("pg_isready")).args(["-h", "127.0.0.1", "-p", &listen]).run();
        if ready.code == Some(0) { Ok(()) } else { Err(ready.out) }
    });
    (server, port)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_migration_table_is_read() {
    let Some(programs) = programs() else { return };
    if !need(&["psql"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_owned();
    let (_server, port) = tokio::task::spawn_blocking(move || server(&programs, &place)).await.unwrap();
    let url = format!("postgres://postgres:s3cret@127.0.0.1:{port}/postgres?sslmode=disable");
    let sql = |text: &str| Client::new("psql").args([&*url, "-v", "ON_ERROR_STOP=1", "-qc", text]).run().ok();
    let state = async |table: &str| migration_state(&url, table, None).await;

    assert_eq!(state("schema_migrations").await.unwrap(), MigrationState::default());
    // As golang-migrate makes it (database/postgres/postgres.go, ensureVersionTable).
    sql("CREATE TABLE schema_migrations (version bigint not null primary key, dirty boolean not null)");
    assert_eq!(state("schema_migrations").await.unwrap(), MigrationState::default());
    sql("INSERT INTO schema_migrations VALUES (3, false)");
    assert_eq!(state("schema_migrations").await.unwrap(), MigrationState { version: Some(3), dirty: false });
    sql("UPDATE schema_migrations SET version = 20250304090000, dirty = true");
    let dirty = MigrationState { version: Some(20_250_304_090_000), dirty: true };
    assert_eq!(state("schema_migrations").await.unwrap(), dirty);
    sql("UPDATE schema_migrations SET version = -1");
    assert_eq!(state("schema_migrations").await.unwrap(), MigrationState { version: None, dirty: true });
    sql("CREATE TABLE another (name text); INSERT INTO another VALUES ('x')");
    assert!(!state("another").await.unwrap_err().is_transient());

    let via = format!("127.0.0.1:{port}").parse().unwrap();
    let far = "postgres://postgres:s3cret@db.gospelib.example:5432/postgres?sslmode=disable";
    assert!(migration_state(far, "schema_migrations", Some(via)).await.unwrap().dirty);
    let wrong = migration_state(&url.replace("s3cret", "guess"), "schema_migrations", None).await.unwrap_err();
    assert!(!wrong.is_transient() && !format!("{wrong:?}").contains("guess"), "{wrong:?}");
    let missing = migration_state(&url.replace("/postgres?", "/nobody?"), "schema_migrations", None).await.unwrap_err();
    assert!(missing.is_not_found(), "{missing:?}");
}
