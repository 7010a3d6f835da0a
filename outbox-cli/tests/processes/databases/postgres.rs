use super::{Kind, Place, answers};

pub(crate) static POSTGRES: Kind = Kind {
    name: "PostgreSQL (with psql)",
    create: |name, _| {
        let server = std::env::var("OUTBOX_TEST_POSTGRES_URL")
            .unwrap_or_else(|_| "postgres://postgres@127.0.0.1:5432/postgres".to_owned());
        let client = |url: &str| {
            let words = ["psql", "-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-d", url];
            words.map(str::to_owned).to_vec()
        };
        if !answers(&client(&server), &format!("CREATE DATABASE {name}")) {
            return None;
        }
        let (address, query) = server.split_once('?').unwrap_or((&server, ""));
        let (host, _) = address.rsplit_once('/').unwrap();
        // Without TLS, so that a proxy can count statements; the client programs don't mind.
        let query = if query.is_empty() { "sslmode=disable".to_owned() } else { query.to_owned() };
        let url = format!("{host}/{name}?{query}");
        let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
        let remove = [client(&server), ["-c".to_owned(), drop].to_vec()].concat();
        Some(Place { client: client(&url), url, remove: Some(remove) })
    },
    begin: "BEGIN",
    bytes: |hex| format!("'\\x{hex}'"),
    id: |hex| format!("'{hex}'"),
    text_types: ["text", "text"],
    writers: 4,
};
