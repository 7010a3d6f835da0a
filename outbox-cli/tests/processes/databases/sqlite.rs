use super::{Kind, Place, answers};

pub(crate) static SQLITE: Kind = Kind {
    name: "SQLite (sqlite3)",
    create: |name, folder| {
        let path = folder.path().join(format!("{name}.db"));
        let path = path.to_str().unwrap();
        // The program's own default is to give up at once when the file is locked.
        let words = ["sqlite3", "-batch", "-bail", "-tabs", "-cmd", ".timeout 60000", path];
        let client = words.map(str::to_owned).to_vec();
        if !answers(&client, "SELECT 1;") {
            return None;
        }
        Some(Place { url: format!("sqlite://{path}?mode=rwc"), client, remove: None })
    },
    begin: "BEGIN IMMEDIATE",
    bytes: |hex| format!("X'{hex}'"),
    id: |hex| format!("X'{hex}'"),
    text_types: ["TEXT", "TEXT"],
    writers: 2,
};
