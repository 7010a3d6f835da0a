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
fn the_number_of_shards_is_what_the_database_can_have() {
    let shell = Shell::migrated();
    assert_eq!(shell.on_store(&["shards", "set", "1"]).succeeds().stdout, "the outbox has 1 shards now\n");
    shell
        .on_store(&["shards", "set", "4"])
        .fails(2, "set the shard count: 4 shards: this database has exactly one");
}
