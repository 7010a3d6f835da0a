use crate::Dialect;

/// The tables of the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Table {
    /// `outbox_messages`: waiting, never tried.
    Messages,
    /// `outbox_deferred`: waits for a time or for another message.
    Deferred,
    /// `outbox_dead_letters`: given up.
    DeadLetters,
    /// `outbox_shards`: who owns what.
    Shards,
    /// `outbox_relays`: who is alive.
    Relays,
    /// `outbox_requests`: what operators asked for.
    Requests,
    /// `inbox_messages`: what consumers have seen.
    Inbox,
    /// `inbox_attempts`: what consumers have tried in vain.
    InboxAttempts,
    /// `outbox_migrations`: which migrations were applied.
    Migrations,
}

impl Table {
    /// All tables, in the order they are created.
    pub const ALL: [Self; 9] = [
        Self::Migrations,
        Self::Messages,
        Self::Deferred,
        Self::DeadLetters,
        Self::Shards,
        Self::Relays,
        Self::Requests,
        Self::Inbox,
        Self::InboxAttempts,
    ];

    /// The name without a prefix.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Messages => "outbox_messages",
            Self::Deferred => "outbox_deferred",
            Self::DeadLetters => "outbox_dead_letters",
            Self::Shards => "outbox_shards",
            Self::Relays => "outbox_relays",
            Self::Requests => "outbox_requests",
            Self::Inbox => "inbox_messages",
            Self::InboxAttempts => "inbox_attempts",
            Self::Migrations => "outbox_migrations",
        }
    }
}

/// Where the tables are: an optional schema (a database in MySQL) and an optional prefix of their names.
///
/// Both are checked here and quoted wherever they stand in SQL, because a name can't be bound as a parameter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct TableNames {
    schema: Option<Box<str>>,
    prefix: Box<str>,
}

/// A name that is no identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The name is empty.
    #[error("the {field} is empty; leave it out instead")]
    Empty {
        /// `schema` or `table prefix`.
        field: &'static str,
    },
    /// The name has a character that is not allowed there.
    #[error(
        "the {field} {name:?} has the character {found:?}; allowed are letters, digits and underscores, not a digit first"
    )]
    IllegalCharacter {
        /// `schema` or `table prefix`.
        field: &'static str,
        /// The name.
        name: String,
        /// The character.
        found: char,
    },
    /// The name, or the longest table name with it, is too long.
    #[error("the {field} makes the name {name:?} of {actual} bytes, at most {limit} are allowed")]
    TooLong {
        /// `schema` or `table prefix`.
        field: &'static str,
        /// The whole resulting name.
        name: String,
        /// Bytes of it.
        actual: usize,
        /// Bytes allowed.
        limit: usize,
    },
}

impl TableNames {
    /// Bytes of an identifier: PostgreSQL's limit and the shortest of all databases.
    pub const LIMIT: usize = 63;

    /// Names in a schema (`None`: wherever the connection looks first) and with a prefix (may be empty): with the prefix
    /// `billing_` the messages are in `billing_outbox_messages`.
    ///
    /// # Errors
    ///
    /// [`NameError`] if one of them is no plain identifier `[A-Za-z_][A-Za-z0-9_]*`, or longer than the databases take.
    pub fn new(schema: Option<&str>, prefix: &str) -> Result<Self, NameError> {
        if let Some(schema) = schema {
            if schema.is_empty() {
                return Err(NameError::Empty { field: "schema" });
            }
            check("schema", schema)?;
            check_length("schema", schema.to_owned())?;
        }
        if !prefix.is_empty() {
            check("table prefix", prefix)?;
        }
        for table in Table::ALL {
            check_length("table prefix", format!("{prefix}{}", table.name()))?;
        }
        Ok(Self { schema: schema.map(Into::into), prefix: prefix.into() })
    }

    /// The schema.
    #[must_use]
    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// The prefix; empty if there is none.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The name of a table without schema and quotes, as catalogs list it.
    #[must_use]
    pub fn plain(&self, table: Table) -> String {
        format!("{}{}", self.prefix, table.name())
    }

    /// The plain name of the table of messages.
    #[must_use]
    pub fn messages(&self) -> String {
        self.plain(Table::Messages)
    }

    /// The name of a table for SQL text: quoted, and qualified with the schema.
    #[must_use]
    pub fn table(&self, dialect: Dialect, table: Table) -> String {
        let name = dialect.quote(&self.plain(table));
        match self.schema() {
            Some(schema) => format!("{}.{name}", dialect.quote(schema)),
            None => name,
        }
    }
}

fn check(field: &'static str, name: &str) -> Result<(), NameError> {
    let fits =
        |position, c: char| c == '_' || c.is_ascii_alphabetic() || (position > 0 && c.is_ascii_digit());
    match name.char_indices().find(|&(position, c)| !fits(position, c)) {
        Some((_, found)) => Err(NameError::IllegalCharacter { field, name: name.to_owned(), found }),
        None => Ok(()),
    }
}

fn check_length(field: &'static str, name: String) -> Result<(), NameError> {
    let (actual, limit) = (name.len(), TableNames::LIMIT);
    if actual > limit { Err(NameError::TooLong { field, name, actual, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_qualified_per_dialect() {
        let names = TableNames::new(Some("app"), "billing_").unwrap();
        assert_eq!(names.table(Dialect::Postgres, Table::Messages), r#""app"."billing_outbox_messages""#);
        assert_eq!(names.table(Dialect::MySql, Table::Inbox), "`app`.`billing_inbox_messages`");
        let plain = TableNames::default();
        assert_eq!(plain.table(Dialect::Sqlite, Table::DeadLetters), r#""outbox_dead_letters""#);
        assert_eq!(plain.plain(Table::Shards), "outbox_shards");
    }

    #[test]
    fn nothing_that_could_end_an_identifier_gets_through() {
        for bad in ["a\"b", "a`b", "a'b", "a;b", "a b", "a.b", "a-b", "a\0b", "1a", "é", "a\\b", "a$b"] {
            let expected = |field| move |e: &NameError| matches!(e, NameError::IllegalCharacter { field: f, .. } if *f == field);
            assert!(TableNames::new(Some(bad), "").is_err_and(|e| expected("schema")(&e)), "{bad:?}");
            assert!(TableNames::new(None, bad).is_err_and(|e| expected("table prefix")(&e)), "{bad:?}");
        }
        assert_eq!(TableNames::new(Some(""), ""), Err(NameError::Empty { field: "schema" }));
    }

    #[test]
    fn the_longest_table_name_must_fit() {
        let longest = TableNames::LIMIT - Table::DeadLetters.name().len();
        assert!(TableNames::new(None, &"p".repeat(longest)).is_ok());
        let error = TableNames::new(None, &"p".repeat(longest + 1)).unwrap_err();
        assert!(
            matches!(error, NameError::TooLong { field: "table prefix", actual: 64, limit: 63, .. }),
            "{error}"
        );
        assert!(TableNames::new(Some(&"s".repeat(63)), "").is_ok());
        assert!(TableNames::new(Some(&"s".repeat(64)), "").is_err());
    }
}
