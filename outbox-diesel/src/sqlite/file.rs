use outbox_core::{StoreError, StoreErrorKind};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// What has a meaning of its own in a URI of SQLite.
const RESERVED: &AsciiSet = &CONTROLS.add(b'%').add(b'?').add(b'#');

/// The file of a database.
#[derive(Debug)]
pub(crate) struct DatabaseFile {
    /// As SQLite wants it: `file:path?parameters`.
    pub(crate) uri: String,
    /// What to call it.
    pub(crate) address: String,
}

impl DatabaseFile {
    /// Reads `sqlite://path?parameters`, `sqlite:path`, `file:path` and a bare path. The parameters are those of SQLite.
    /// A file that is missing is made only with `mode=rwc`: one that is misspelt would be an empty database.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Invalid`] if it is the URL of another database, or a database in memory, which exists in one
    /// connection only.
    pub(crate) fn parse(url: &str) -> Result<Self, StoreError> {
        let prefixes = ["sqlite://", "sqlite:", "file:"];
        let (path, query) = match prefixes.iter().find_map(|prefix| url.strip_prefix(prefix)) {
            Some(rest) => {
                let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
                (path.to_owned(), query)
            }
            None if url.contains("://") => return Err(invalid("it is the URL of another database")),
            None => (utf8_percent_encode(url, RESERVED).to_string(), ""),
        };
        let mode = query.split('&').find_map(|pair| pair.strip_prefix("mode="));
        if path.is_empty() || path == ":memory:" || mode == Some("memory") {
            return Err(invalid(
                "a database in memory exists in one connection only, and a store has several",
            ));
        }
        let query = match (mode, query) {
            (Some(_), query) => query.to_owned(),
            (None, "") => "mode=rw".to_owned(),
            (None, query) => format!("mode=rw&{query}"),
        };
        let address = format!("sqlite database {}", percent_decode_str(&path).decode_utf8_lossy());
        Ok(Self { uri: format!("file:{path}?{query}"), address })
    }
}

fn invalid(why: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, "connect", format!("no file of a SQLite database: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_can_be_named_in_many_ways() {
        for (url, uri, address) in [
            ("sqlite:///srv/a%20b.db", "file:/srv/a%20b.db?mode=rw", "/srv/a b.db"),
            ("sqlite://a.db?mode=rwc", "file:a.db?mode=rwc", "a.db"),
            ("sqlite:a.db?nolock=1", "file:a.db?mode=rw&nolock=1", "a.db"),
            ("file:///a.db", "file:///a.db?mode=rw", "///a.db"),
            ("/srv/50%?.db", "file:/srv/50%25%3F.db?mode=rw", "/srv/50%?.db"),
        ] {
            let file = DatabaseFile::parse(url).unwrap();
            assert_eq!((&*file.uri, file.address), (uri, format!("sqlite database {address}")));
        }
    }

    #[test]
    fn what_is_no_file_is_refused() {
        for url in
            ["", ":memory:", "sqlite::memory:", "sqlite://a?mode=memory", "postgres://u:canary@host/db"]
        {
            let error = DatabaseFile::parse(url).unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Invalid);
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }
}
