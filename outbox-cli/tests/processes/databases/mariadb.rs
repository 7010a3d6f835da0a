use super::{Kind, Place, answers};

pub(crate) static MARIADB: Kind = Kind {
    name: "MariaDB (with mariadb)",
    create: |name, _| {
        let server = std::env::var("OUTBOX_TEST_MYSQL_URL")
            .unwrap_or_else(|_| "mysql://root@127.0.0.1:3306/test".to_owned());
        let (address, _) = server.split_once('?').unwrap_or((&server, ""));
        let (login, _) = address.rsplit_once('/').unwrap();
        let (user, host) = login.trim_start_matches("mysql://").rsplit_once('@').unwrap_or(("root", login));
        let (user, password) = user.split_once(':').unwrap_or((user, ""));
        let (host, port) = host.rsplit_once(':').unwrap_or((host, "3306"));
        let client = |database: &[&str]| {
            let mut words = vec![
                "mariadb".to_owned(),
                "--no-defaults".to_owned(),
                "--protocol=tcp".to_owned(),
                format!("--host={host}"),
                format!("--port={port}"),
                format!("--user={user}"),
                "--batch".to_owned(),
                "--skip-column-names".to_owned(),
            ];
            if !password.is_empty() {
                words.push(format!("--password={password}"));
            }
            words.extend(database.iter().map(|word| (*word).to_owned()));
            words
        };
        if !answers(&client(&[]), &format!("CREATE DATABASE {name}")) {
            return None;
        }
        let remove = client(&["-e", &format!("DROP DATABASE IF EXISTS {name}")]);
        Some(Place { url: format!("{login}/{name}"), client: client(&[name]), remove: Some(remove) })
    },
    begin: "START TRANSACTION",
    bytes: |hex| format!("X'{hex}'"),
    id: |hex| format!("X'{hex}'"),
    text_types: ["VARCHAR(100)", "TEXT"],
    writers: 4,
};
