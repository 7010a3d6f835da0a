use super::from_file;
use crate::config::Config;

#[tokio::test]
async fn what_is_missing_says_where_to_set_it() {
    let error = Config::default().relay().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "no store URL: set store.url in the configuration or OUTBOX_STORE_URL in the environment"
    );
    let error = from_file("store.table_prefix = 'a\"b'").unwrap().table_names().unwrap_err();
    assert!(error.to_string().starts_with("the table prefix \"a\\\"b\" has the character '\"'"), "{error}");
}

#[tokio::test]
#[cfg(feature = "sqlx-sqlite")]
async fn hints_by_redis_reach_the_relay() {
    let file = |url: &str| {
        let toml = format!(
            "store.url = 'sqlite:x.db'\ntransport.url = 'stdout:'\n[wakeups]\nservice = 'shop'\nredis_url = '{url}'\n"
        );
        from_file(&toml).unwrap()
    };
    let relay = file("redis://localhost").relay().await;
    if cfg!(feature = "redis") {
        let _ = relay.unwrap();
        let error = file("redis://u:c4nary@h?strem=1").relay().await.err().unwrap().to_string();
        assert!(error.contains("unknown parameter \"strem\"") && !error.contains("c4nary"), "{error}");
    } else {
        let error = relay.err().unwrap().to_string();
        assert_eq!(error, "the scheme `redis` needs the cargo feature `redis` of the crate `outbox`");
    }
}

#[tokio::test]
#[cfg(all(feature = "memory", feature = "sqlx-sqlite"))]
async fn a_diagnosis_looks_at_every_part_and_says_what_to_do() {
    use outbox_core::Severity;

    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite://{}?mode=rwc", folder.path().join("x.db").display());
    let routes = "[[route]]\nname = 'audit'\ntopics = ['audit']\ntransport = 'carrier-pigeon://u:c4nary@h'\n";
    let config = from_file(&format!("store.url = '{store}'\ntransport.url = 'memory:'\n{routes}")).unwrap();

    let found = config.diagnose(&[]).await;
    let parts: Vec<_> = found.iter().map(|part| (part.part.as_str(), part.severity())).collect();
    assert_eq!(parts, [("store", Severity::Error), ("audit", Severity::Error), ("transport", Severity::Ok)]);
    let remedies: Vec<_> = found[0].findings.iter().filter_map(|finding| finding.remedy.as_deref()).collect();
    assert_eq!(remedies, ["run `outbox migrate`"]);
    assert!(found[1].findings[0].detail.contains("`carrier-pigeon`"), "{found:?}");
    assert!(!format!("{found:?}").contains("c4nary"));

    config.connect_store().await.unwrap().migrate().await.unwrap();
    assert_eq!(config.diagnose(&[]).await[0].severity(), Severity::Ok);

    let nothing = Config::default().diagnose(&[]).await;
    assert!(nothing.iter().all(|part| part.severity() == Severity::Error), "{nothing:?}");
}
