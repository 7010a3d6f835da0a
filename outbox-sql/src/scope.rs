use std::sync::Arc;

use outbox_core::{Scope, TopicPattern};

use crate::vocabulary::Vocabulary;
use crate::{Dialect, Value};

/// The texts of one read: with and without the clause of the shards, with and without that of the topics. Each is made
/// once and stays prepared.
#[derive(Debug)]
pub(crate) struct Scoped {
    texts: [Arc<str>; 4],
}

/// Which clauses a text has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clauses<'a> {
    words: &'a Vocabulary,
    masked: bool,
    filtered: bool,
}

impl Scoped {
    pub(crate) fn new(words: &Vocabulary, sql: impl Fn(Clauses<'_>) -> String) -> Self {
        let text = |masked, filtered| words.text(&sql(Clauses { words, masked, filtered }));
        Self { texts: [text(false, false), text(true, false), text(false, true), text(true, true)] }
    }

    pub(crate) fn text(&self, scope: &Scope) -> &Arc<str> {
        let masked = usize::from(!scope.shards.is_all());
        let filtered = usize::from(!scope.topics.is_all());
        &self.texts[masked + 2 * filtered]
    }
}

impl Clauses<'_> {
    /// What follows the other conditions on the table with this alias. Its values are pushed by [`bind`].
    pub(crate) fn of(&self, alias: &str) -> String {
        let mut sql = String::new();
        if self.masked {
            let shard = self.words.shard(alias);
            sql += &match self.words.dialect {
                Dialect::Postgres => format!(" AND (?::int8 >> {shard}::int) & 1 = 1"),
                Dialect::MySql | Dialect::Sqlite => format!(" AND (? >> {shard}) & 1 = 1"),
            };
        }
        if self.filtered {
            sql += &match self.words.dialect {
                Dialect::Postgres => {
                    format!(
                        " AND {alias}.topic LIKE ANY (?::text[]) AND NOT ({alias}.topic LIKE ANY (?::text[]))"
                    )
                }
                Dialect::MySql => format!(" AND {alias}.topic REGEXP ? AND NOT ({alias}.topic REGEXP ?)"),
                Dialect::Sqlite => format!(
                    " AND EXISTS (SELECT 1 FROM json_each(?) WHERE {alias}.topic GLOB value)\
                     \x20AND NOT EXISTS (SELECT 1 FROM json_each(?) WHERE {alias}.topic GLOB value)"
                ),
            };
        }
        sql
    }
}

/// Pushes the values of [`Clauses::of`].
pub(crate) fn bind(values: &mut Vec<Value<'_>>, dialect: Dialect, scope: &Scope) {
    if !scope.shards.is_all() {
        values.push(Value::from(scope.shards.mask()));
        values.push(count_less_one(scope));
    }
    let topics = &scope.topics;
    if !topics.is_all() {
        let everything = [TopicPattern::Prefix("".into())];
        let include = if topics.include.is_empty() { &everything[..] } else { &topics.include };
        values.push(patterns(dialect, include));
        values.push(patterns(dialect, &topics.exclude));
    }
}

/// The parameter of [`Vocabulary::shard`].
pub(crate) fn count_less_one(scope: &Scope) -> Value<'static> {
    Value::from(i64::from(scope.shards.count().saturating_sub(1)))
}

/// Patterns in the language of the database. Each takes names literally and in the right case, whatever they contain.
fn patterns(dialect: Dialect, patterns: &[TopicPattern]) -> Value<'static> {
    let each = |exact: fn(&str) -> String, wild: &str| -> Vec<String> {
        let one = |pattern: &TopicPattern| match pattern {
            TopicPattern::Exact(name) => exact(name),
            TopicPattern::Prefix(prefix) => exact(prefix) + wild,
        };
        patterns.iter().map(one).collect()
    };
    match dialect {
        Dialect::Postgres => {
            Value::TextArray(each(like, "%").into_iter().map(|text| Some(text.into())).collect())
        }
        Dialect::MySql => Value::from(regexp(patterns)),
        Dialect::Sqlite => Value::from(serde_json::Value::from(each(glob, "*")).to_string()),
    }
}

fn like(text: &str) -> String {
    escape(text, |c| matches!(c, '\\' | '%' | '_').then(|| format!("\\{c}")))
}

fn glob(text: &str) -> String {
    escape(text, |c| matches!(c, '*' | '?' | '[').then(|| format!("[{c}]")))
}

/// One expression that both PCRE (MariaDB) and ICU (MySQL) read alike. `\z` and not `$`, which also matches before a
/// line feed at the end.
fn regexp(patterns: &[TopicPattern]) -> String {
    if patterns.is_empty() {
        // No topic is empty.
        return r"^\z".to_owned();
    }
    let special = |c: char| r".^$*+?()[]{}|\".contains(c).then(|| format!("\\{c}"));
    let alternatives: Vec<String> = patterns
        .iter()
        .map(|pattern| match pattern {
            TopicPattern::Exact(name) => escape(name, special) + r"\z",
            TopicPattern::Prefix(prefix) => escape(prefix, special),
        })
        .collect();
    format!("^(?:{})", alternatives.join("|"))
}

fn escape(text: &str, escaped: impl Fn(char) -> Option<String>) -> String {
    text.chars().map(|c| escaped(c).unwrap_or_else(|| c.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TableNames;
    use outbox_core::{ShardSet, TopicFilter};

    fn filter(include: &[&str], exclude: &[&str]) -> TopicFilter {
        let parse = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
        TopicFilter { include: parse(include), exclude: parse(exclude) }
    }

    #[test]
    fn names_are_taken_literally() {
        assert_eq!(like("a_b%"), r"a\_b\%");
        assert_eq!(glob("[a]?*"), "[[]a][?][*]");
        let topics = filter(&["a.b", "a_*"], &[]);
        assert_eq!(regexp(&topics.include), r"^(?:a\.b\z|a_)");
        assert_eq!(regexp(&filter(&["(a|b)+$"], &[]).include), r"^(?:\(a\|b\)\+\$\z)");
    }

    #[test]
    fn an_empty_list_of_includes_lets_all_through() {
        let scope = Scope { topics: filter(&[], &["a"]), shards: ShardSet::all(16) };
        let bound = |dialect| {
            let mut values = Vec::new();
            bind(&mut values, dialect, &scope);
            format!("{values:?}")
        };
        assert_eq!(bound(Dialect::Postgres), r#"[TextArray([Some("%")]), TextArray([Some("a")])]"#);
        assert_eq!(bound(Dialect::MySql), r#"[Text(Some("^(?:)")), Text(Some("^(?:a\\z)"))]"#);
        assert_eq!(bound(Dialect::Sqlite), r#"[Text(Some("[\"*\"]")), Text(Some("[\"a\"]"))]"#);
    }

    #[test]
    fn a_text_has_a_parameter_for_each_value() {
        for dialect in [Dialect::Postgres, Dialect::MySql, Dialect::Sqlite] {
            let words = Vocabulary::new(dialect, &TableNames::default());
            let scoped = Scoped::new(&words, |clauses| clauses.of("m").replace('$', ""));
            for shards in [ShardSet::all(16), ShardSet::of(16, [1])] {
                for topics in [TopicFilter::all(), filter(&["a"], &[])] {
                    let scope = Scope { shards, topics };
                    let mut values = Vec::new();
                    bind(&mut values, dialect, &scope);
                    let text = scoped.text(&scope);
                    let parameters = text.matches(['?', '$']).count();
                    assert_eq!(parameters, values.len(), "{text}");
                }
            }
        }
    }
}
