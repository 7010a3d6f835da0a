use crate::{Dialect, Table};

/// What a table looks like after all migrations.
pub(super) struct Shape {
    pub(super) table: Table,
    /// Names, types and whether they may be null.
    pub(super) columns: &'static [(&'static str, Type, Null)],
    /// The columns of the primary key and of each index, in their order.
    pub(super) indexes: &'static [&'static str],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Null {
    Yes,
    No,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Type {
    Id,
    Topic,
    Key,
    Attribute,
    Number,
    Large,
    Small,
    Json,
    Payload,
    Time,
    Error,
    Relay,
    Action,
    Consumer,
}

impl Type {
    /// As the catalog names it, after [`super::schema_check`] has put length and collation behind it where they matter.
    pub(super) const fn name(self, dialect: Dialect) -> &'static str {
        let (postgres, mysql, sqlite) = match self {
            Self::Id => ("uuid", "binary(16)", "BLOB"),
            Self::Topic => ("text", "varchar(249) ascii_bin", "TEXT"),
            Self::Key => ("text", "varbinary(512)", "TEXT"),
            Self::Attribute => ("text", "varchar(255) utf8mb4_bin", "TEXT"),
            Self::Number => ("integer", "int", "INTEGER"),
            Self::Large => ("bigint", "bigint", "INTEGER"),
            Self::Small => ("smallint", "smallint", "INTEGER"),
            Self::Json => ("json", "json", "TEXT"),
            Self::Payload => ("bytea", "longblob", "BLOB"),
            Self::Time => ("timestamp with time zone", "datetime(6)", "INTEGER"),
            Self::Error => ("text", "mediumtext utf8mb4_bin", "TEXT"),
            Self::Relay => ("text", "varchar(64) ascii_bin", "TEXT"),
            Self::Action => ("text", "varchar(16) ascii_bin", "TEXT"),
            Self::Consumer => ("text", "varbinary(255)", "TEXT"),
        };
        match dialect {
            Dialect::Postgres => postgres,
            Dialect::MySql => mysql,
            Dialect::Sqlite => sqlite,
        }
    }
}

/// The columns that a message has in each of its tables, after `first` and before `last`.
macro_rules! message_table {
    ([$($first:expr),*], [$($last:expr),*]) => {
        &[
            $($first,)*
            ("id", Type::Id, Null::No),
            ("topic", Type::Topic, Null::No),
            ("ordering_key", Type::Key, Null::Yes),
            ("event_type", Type::Attribute, Null::Yes),
            ("schema_version", Type::Number, Null::No),
            ("aggregate_type", Type::Attribute, Null::Yes),
            ("aggregate_id", Type::Attribute, Null::Yes),
            ("correlation_id", Type::Attribute, Null::Yes),
            ("content_type", Type::Attribute, Null::No),
            ("headers", Type::Json, Null::No),
            ("payload", Type::Payload, Null::No),
            ("created_at", Type::Time, Null::No),
            ("available_at", Type::Time, Null::Yes),
            ("max_attempts", Type::Number, Null::Yes),
            $($last,)*
        ]
    };
}

pub(super) const SHAPES: [Shape; 9] = [
    Shape {
        table: Table::Migrations,
        columns: &[
            ("version", Type::Number, Null::No),
            ("name", Type::Attribute, Null::No),
            ("applied_at", Type::Time, Null::No),
        ],
        indexes: &["version"],
    },
    Shape {
        table: Table::Messages,
        columns: message_table!([("seq", Type::Large, Null::No)], []),
        indexes: &["seq"],
    },
    Shape {
        table: Table::Deferred,
        columns: message_table!(
            [("number", Type::Large, Null::No), ("seq", Type::Large, Null::No)],
            [
                ("due_at", Type::Time, Null::Yes),
                ("attempts", Type::Number, Null::No),
                ("last_attempt_at", Type::Time, Null::Yes),
                ("last_error", Type::Error, Null::Yes),
                ("held_behind", Type::Id, Null::Yes),
                ("deferred_at", Type::Time, Null::No)
            ]
        ),
        indexes: &["number", "due_at,number", "ordering_key,seq", "id"],
    },
    Shape {
        table: Table::DeadLetters,
        columns: message_table!(
            [("number", Type::Large, Null::No), ("seq", Type::Large, Null::No)],
            [
                ("reason", Type::Attribute, Null::No),
                ("attempts", Type::Number, Null::No),
                ("last_error", Type::Error, Null::Yes),
                ("died_at", Type::Time, Null::No),
                ("parked_behind", Type::Id, Null::Yes)
            ]
        ),
        indexes: &["number", "id", "ordering_key,seq WHERE parked_behind IS NOT NULL", "died_at,number"],
    },
    Shape {
        table: Table::Shards,
        columns: &[
            ("shard", Type::Small, Null::No),
            ("owner", Type::Relay, Null::Yes),
            ("epoch", Type::Large, Null::No),
            ("lease_until", Type::Time, Null::Yes),
            ("unclean", Type::Number, Null::No),
        ],
        indexes: &["shard"],
    },
    Shape {
        table: Table::Relays,
        columns: &[
            ("relay", Type::Relay, Null::No),
            ("label", Type::Attribute, Null::No),
            ("started_at", Type::Time, Null::No),
            ("last_seen", Type::Time, Null::No),
            ("alive_until", Type::Time, Null::No),
        ],
        indexes: &["relay"],
    },
    Shape {
        table: Table::Requests,
        columns: &[
            ("message_id", Type::Id, Null::No),
            ("action", Type::Action, Null::No),
            ("requested_at", Type::Time, Null::No),
        ],
        indexes: &["message_id"],
    },
    Shape {
        table: Table::Inbox,
        columns: &[
            ("consumer", Type::Consumer, Null::No),
            ("message_id", Type::Id, Null::No),
            ("processed_at", Type::Time, Null::No),
        ],
        indexes: &["consumer,message_id", "consumer,processed_at"],
    },
    Shape {
        table: Table::InboxAttempts,
        columns: &[
            ("consumer", Type::Consumer, Null::No),
            ("message_id", Type::Id, Null::No),
            ("attempts", Type::Number, Null::No),
            ("last_attempt_at", Type::Time, Null::No),
        ],
        indexes: &["consumer,message_id", "consumer,last_attempt_at"],
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Migrations, TableNames};

    #[test]
    fn the_shapes_are_what_the_migrations_make() {
        for dialect in [Dialect::Postgres, Dialect::MySql, Dialect::Sqlite] {
            let names = TableNames::default();
            let scripts = Migrations::rendered(dialect, &names);
            let sql: String = scripts.iter().map(|script| script.sql.as_str()).collect();
            for shape in &SHAPES {
                let table = names.table(dialect, shape.table);
                let (_, body) = sql.split_once(&format!("{table} (\n")).unwrap();
                let (body, _) = body.split_once("\n)").unwrap();
                let mut made = body.lines().map(|line| line.split_whitespace().next().unwrap_or_default());
                for (column, ..) in shape.columns {
                    assert!(
                        made.any(|word| word == *column),
                        "{dialect:?}: {table}.{column} is not in its place"
                    );
                }
            }
        }
    }

    #[test]
    fn every_table_has_a_shape() {
        for table in Table::ALL {
            assert!(SHAPES.iter().any(|shape| shape.table == table), "{table:?}");
        }
    }
}
