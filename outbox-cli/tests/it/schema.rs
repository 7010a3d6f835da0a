use sqlx::Connection;

use crate::shell::Shell;

#[test]
fn migrate_says_what_it_did() {
    let shell = Shell::new();
    let migrate =
        |json: &[&str]| shell.run(&[&["--store", &*shell.new_url(), "migrate"], json].concat()).succeeds();
    assert_eq!(migrate(&[]).stdout, "applied 1 outbox\n");
    assert_eq!(migrate(&[]).stdout, "nothing to do: the tables are of this version\n");
    assert_eq!(migrate(&["--json"]).stdout, "[]\n");
    let other = shell.run(&["migrate", "--json", "--prefix", "b_", "--store", &shell.url()]).succeeds();
    assert_eq!(other.stdout, "[{\"version\":1,\"name\":\"outbox\"}]\n");
}

#[test]
fn the_printed_schema_is_the_schema() {
    let shell = Shell::new();
    let printed = shell.run(&["schema", "print", "--dialect", "sqlite", "--prefix", "b_"]).succeeds().stdout;
    std::fs::write(shell.file("shop.db"), "").unwrap();
    shell.sql(&printed);
    let check = shell.on_store(&["schema", "check", "--prefix", "b_"]).succeeds();
    assert_eq!(check.stdout, "the tables are as the migrations made them\n");
    assert_eq!(shell.on_store(&["schema", "check", "--prefix", "b_", "--json"]).succeeds().stdout, "[]\n");
}

#[test]
fn every_dialect_is_printed_without_a_database() {
    let shell = Shell::new();
    let print = |dialect: &str| {
        let names = ["--schema", "shop", "--prefix", "b_"];
        shell.run(&[&["schema", "print", "--dialect", dialect], &names[..]].concat()).succeeds().stdout
    };
    assert!(print("postgres").contains("CREATE TABLE \"shop\".\"b_outbox_messages\" ("));
    assert!(print("mysql").contains("CREATE TABLE IF NOT EXISTS `shop`.`b_outbox_messages` ("));
    let json = shell.run(&["schema", "print", "--dialect", "postgres", "--json"]).succeeds().json();
    assert_eq!((&json[0]["version"], &json[0]["name"]), (&1.into(), &"outbox".into()));
    assert!(json[0]["sql"].as_str().unwrap().contains("CREATE TABLE"));
}

#[test]
fn check_finds_what_somebody_changed() {
    let shell = Shell::migrated();
    shell.sql("ALTER TABLE outbox_messages DROP COLUMN correlation_id");
    let found = shell.on_store(&["schema", "check"]);
    assert_eq!(found.code, 1);
    assert!(found.stdout.contains("outbox_messages.correlation_id"), "{}", found.stdout);
    let json = shell.on_store(&["schema", "check", "--json"]);
    assert_eq!(json.code, 1);
    assert_eq!(json.json()[0]["problem"], "the column is missing");
}

#[test]
fn an_index_of_other_rows_is_no_index() {
    let shell = Shell::migrated();
    shell.sql(
        "DROP INDEX outbox_deferred_due;
         CREATE INDEX outbox_deferred_due ON outbox_deferred (due_at, number) WHERE attempts > 0",
    );
    let json = shell.on_store(&["schema", "check", "--json"]);
    assert_eq!(json.code, 1);
    assert_eq!(json.json()[0]["problem"], "the index on (due_at,number) is missing");
}

#[test]
fn the_number_of_shards_is_what_the_database_can_have() {
    let shell = Shell::migrated();
    assert_eq!(shell.on_store(&["shards", "set", "1"]).succeeds().stdout, "the outbox has 1 shards now\n");
    shell
        .on_store(&["shards", "set", "4"])
        .fails(2, "set the shard count: 4 shards: this database has exactly one");
}

/// Exports for SQLite into the folder `migrations`.
fn export(shell: &Shell, tool: &str) -> String {
    let arguments = ["schema", "export", "--for", tool, "--dialect", "sqlite", "migrations"];
    shell.run(&arguments).succeeds().stdout
}

fn is_as_migrated(shell: &Shell) {
    let check = shell.on_store(&["schema", "check"]).succeeds();
    assert_eq!(check.stdout, "the tables are as the migrations made them\n");
    let migrate = shell.on_store(&["migrate"]).succeeds();
    assert_eq!(migrate.stdout, "nothing to do: the tables are of this version\n");
}

#[test]
fn sqlx_applies_what_is_exported_for_it() {
    let shell = Shell::new();
    assert_eq!(export(&shell, "sqlx"), "wrote migrations/20261101000001_outbox.sql\n");
    assert_eq!(export(&shell, "sqlx"), "nothing to do: the files are there\n");
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut connection = sqlx::SqliteConnection::connect(&shell.new_url()).await.unwrap();
        let migrator = sqlx::migrate::Migrator::new(shell.file("migrations")).await.unwrap();
        for _ in 0..2 {
            migrator.run(&mut connection).await.unwrap();
        }
    });
    is_as_migrated(&shell);
}

#[test]
fn an_export_can_be_undone_when_nothing_would_be_lost() {
    let shell = Shell::new();
    let folder = "migrations/2026-11-01-000001_outbox";
    assert_eq!(export(&shell, "diesel"), format!("wrote {folder}/up.sql\nwrote {folder}/down.sql\n"));
    let text = |name: &str| std::fs::read_to_string(shell.file(&format!("{folder}/{name}.sql"))).unwrap();
    std::fs::write(shell.file("shop.db"), "").unwrap();
    shell.sql(&text("up"));
    is_as_migrated(&shell);
    shell.sql("INSERT INTO outbox_messages (id, topic, payload) VALUES (randomblob(16), 't', x'00')");
    assert!(shell.try_sql(&text("down")).is_err(), "a message is waiting");
    shell.sql("DELETE FROM outbox_messages");
    shell.sql(&text("down"));
    shell.sql(&text("up"));
    is_as_migrated(&shell);
}

#[test]
fn each_tool_has_its_files() {
    let files = [
        ("refinery", "wrote migrations/V20261101__outbox.sql\n"),
        ("sql", "wrote migrations/0001_outbox.up.sql\nwrote migrations/0001_outbox.down.sql\n"),
        (
            "sea-orm",
            "wrote migrations/m20261101_000001_outbox.rs\nwrote migrations/m20261101_000001_outbox.up.sql\n\
             wrote migrations/m20261101_000001_outbox.down.sql\n",
        ),
    ];
    let shell = Shell::new();
    for (tool, expected) in files {
        assert_eq!(export(&shell, tool), expected);
    }
    let module = std::fs::read_to_string(shell.file("migrations/m20261101_000001_outbox.rs")).unwrap();
    assert!(module.contains("include_str!(\"m20261101_000001_outbox.up.sql\")"), "{module}");
    assert!(!module.contains("{module}"), "{module}");
}

#[test]
fn an_export_overwrites_nothing() {
    let shell = Shell::new();
    export(&shell, "sql");
    std::fs::write(shell.file("migrations/0001_outbox.down.sql"), "-- mine").unwrap();
    std::fs::remove_file(shell.file("migrations/0001_outbox.up.sql")).unwrap();
    let arguments = ["schema", "export", "--for", "sql", "--dialect", "sqlite", "migrations"];
    let error = "migrations/0001_outbox.down.sql is there with another text; a migration is never changed";
    shell.run(&arguments).fails(1, error);
    assert!(!shell.file("migrations/0001_outbox.up.sql").exists(), "nothing is written");
}
