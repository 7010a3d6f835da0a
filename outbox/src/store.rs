use std::sync::Arc;

use outbox_core::{InboxAdmin, OutboxAdmin, OutboxStore, StoreError};
use outbox_sql::TableNames;

use crate::ConnectError;
use crate::scheme::{Role, Scheme};

/// All sides of an outbox in one object: what the relay reads and settles, what an operator asks, and what an inbox needs
/// beside the transactions of its consumers.
///
/// An `Arc<dyn Store>` is also an `Arc<dyn OutboxStore>`, which is what [`Relay::shared`](crate::relay::Relay::shared)
/// takes, and an `Arc<dyn InboxAdmin>`, which is what [`Consumer::inbox`](crate::relay::Consumer::inbox) takes.
pub trait Store: OutboxStore + OutboxAdmin + InboxAdmin {}

impl<T: OutboxStore + OutboxAdmin + InboxAdmin + ?Sized> Store for T {}

type Open = fn(&str, TableNames) -> Result<Arc<dyn Store>, StoreError>;

/// What opens a store of a type, where its feature is on.
macro_rules! open {
    ($feature:literal, $store:path) => {{
        #[cfg(feature = $feature)]
        const OPEN: Option<Open> =
            Some(|url, names| Ok(Arc::new(<$store>::from_url_with_names(url, names)?)));
        #[cfg(not(feature = $feature))]
        const OPEN: Option<Open> = None;
        OPEN
    }};
}

/// The first that is compiled in: all of them do the same with the same tables.
const fn first(stores: [Option<Open>; 4]) -> Option<Open> {
    let mut next = 0;
    while next < stores.len() {
        if stores[next].is_some() {
            return stores[next];
        }
        next += 1;
    }
    None
}

const POSTGRES: Option<Open> = first([
    open!("sqlx-postgres", outbox_sqlx::PostgresStore),
    open!("seaorm-postgres", outbox_seaorm::SeaOrmStore),
    open!("diesel-async-postgres", outbox_diesel::AsyncPostgresStore),
    open!("diesel-postgres", outbox_diesel::PostgresStore),
]);

const MYSQL: Option<Open> = first([
    open!("sqlx-mysql", outbox_sqlx::MySqlStore),
    open!("seaorm-mysql", outbox_seaorm::SeaOrmStore),
    open!("diesel-async-mysql", outbox_diesel::AsyncMySqlStore),
    open!("diesel-mysql", outbox_diesel::MySqlStore),
]);

const SQLITE: Option<Open> = first([
    open!("sqlx-sqlite", outbox_sqlx::SqliteStore),
    open!("seaorm-sqlite", outbox_seaorm::SeaOrmStore),
    open!("diesel-async-sqlite", outbox_diesel::AsyncSqliteStore),
    open!("diesel-sqlite", outbox_diesel::SqliteStore),
]);

const SCHEMES: &[Scheme<Open>] = &[
    Scheme::new("postgres", "sqlx-postgres", POSTGRES),
    Scheme::new("postgresql", "sqlx-postgres", POSTGRES),
    Scheme::new("mysql", "sqlx-mysql", MYSQL),
    Scheme::new("mariadb", "sqlx-mysql", MYSQL),
    Scheme::new("sqlite", "sqlx-sqlite", SQLITE),
];

/// The outbox in the database at a URL: `postgres:`, `postgresql:`, `mysql:`, `mariadb:` or `sqlite:`. By sqlx if that is
/// compiled in for this database, else by sea-orm, diesel-async or diesel.
///
/// Nothing is connected yet: a database that can't be reached is an error of the first operation, and the next one
/// tries again.
///
/// # Errors
///
/// [`ConnectError`] if the scheme is not known, its feature is off, or the URL is wrong. No text repeats the URL.
///
/// # Cancel safety
///
/// Yes.
pub async fn connect_store(url: &str) -> Result<Arc<dyn Store>, ConnectError> {
    connect_store_with_names(url, TableNames::default()).await
}

/// [`connect_store`] with other names of the tables.
///
/// # Errors
///
/// As [`connect_store`].
///
/// # Cancel safety
///
/// Yes.
// Async although nothing waits today: an adapter that has to look something up first must not change every caller.
pub async fn connect_store_with_names(url: &str, names: TableNames) -> Result<Arc<dyn Store>, ConnectError> {
    let open = Scheme::find(SCHEMES, Role::Store, url)?;
    Ok(open(url, names)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn error(url: &str) -> String {
        match connect_store(url).await {
            Ok(_) => panic!("it was accepted"),
            Err(error) => format!("{error} {error:?}"),
        }
    }

    #[tokio::test]
    async fn an_unknown_scheme_names_what_is_known() {
        let text = error("oracle://scott:c4nary@h").await;
        let known = "known are postgres, postgresql, mysql, mariadb, sqlite";
        assert!(text.contains("`oracle`") && text.contains(known), "{text}");
        assert!(!text.contains("c4nary"), "{text}");
    }

    #[tokio::test]
    #[cfg(all(feature = "sqlx-postgres", feature = "sqlx-mysql"))]
    async fn a_wrong_url_is_not_repeated() {
        for url in ["postgres://u:c4nary@h:x/d", "mysql://u:c4nary@h:99999", "postgres://u:c4nary@["] {
            let text = error(url).await;
            assert!(!text.contains("c4nary"), "{text}");
        }
    }

    #[tokio::test]
    #[cfg(feature = "sqlx-sqlite")]
    async fn a_store_is_both_sides_of_an_outbox() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}?mode=rwc", folder.path().join("shop.db").display());
        let names = TableNames::new(None, "shop_").unwrap();
        let store = connect_store_with_names(&url, names).await.unwrap();
        assert_eq!(store.migrate().await.unwrap().len(), 1);
        let relay_side: Arc<dyn OutboxStore> = store;
        assert!(relay_side.is_empty().await.unwrap());
        let other = connect_store(&url).await.unwrap();
        let kind = other.check().await.unwrap_err().kind();
        assert_eq!(kind, outbox_core::StoreErrorKind::NotMigrated, "the prefix makes another outbox");
    }
}
