use std::fmt::Write;

use outbox_sql::{Statement, Value};
use sea_orm::DbBackend;
use sea_orm::sea_query::ArrayType;

/// Makes a text whose arrays are bound as text another text: drivers keep a prepared statement under its text, together
/// with the types of its parameters.
const AS_TEXT: &str = " /* arrays as text */";

/// A statement with its values.
///
/// An array with a null can't be bound as one: sea-query 1.0 panics at it. It is bound as a text instead, which every
/// statement of `outbox-sql` casts to its type. An array without one is bound as it is: a condition that the database
/// checks row by row would read the text again for each row.
pub(crate) fn query(statement: Statement<'_>) -> sea_orm::Statement {
    let as_text = statement.values.iter().any(has_null);
    let mut sql = String::with_capacity(statement.sql.len() + AS_TEXT.len());
    sql.push_str(&statement.sql);
    if as_text {
        sql.push_str(AS_TEXT);
    }
    let values = statement.values.into_iter().map(|value| bound(value, as_text));
    sea_orm::Statement::from_sql_and_values(DbBackend::Postgres, sql, values)
}

/// Whether it is an array with a null in it.
fn has_null(value: &Value<'_>) -> bool {
    match value {
        Value::I64Array(values) => values.contains(&None),
        Value::TextArray(values) => values.contains(&None),
        Value::UuidArray(values) => values.contains(&None),
        Value::BytesArray(_) | Value::I64(_) | Value::Text(_) | Value::Bytes(_) | Value::Uuid(_) => false,
    }
}

fn bound(value: Value<'_>, as_text: bool) -> sea_orm::Value {
    use sea_orm::Value as Bound;
    match value {
        Value::I64(value) => Bound::BigInt(value),
        Value::Text(value) => Bound::String(value.map(Into::into)),
        Value::Bytes(value) => Bound::Bytes(value.map(Into::into)),
        Value::Uuid(value) => Bound::Uuid(value),
        Value::I64Array(values) if as_text => text(values, |text, value| write!(text, "{value}")),
        Value::UuidArray(values) if as_text => text(values, |text, value| write!(text, "{value}")),
        Value::TextArray(values) if as_text => text(values, |text, value| {
            quote(text, &value);
            Ok(())
        }),
        Value::I64Array(values) => array(ArrayType::BigInt, values.into_iter().map(Bound::BigInt)),
        Value::UuidArray(values) => array(ArrayType::Uuid, values.into_iter().map(Bound::Uuid)),
        Value::TextArray(values) => {
            let values = values.into_iter().map(|value| Bound::String(value.map(Into::into)));
            array(ArrayType::String, values)
        }
        // It never has a null, and as a text it would be twice as long.
        Value::BytesArray(values) => {
            array(ArrayType::Bytes, values.into_iter().map(|value| Bound::Bytes(Some(value.into()))))
        }
    }
}

fn array(of: ArrayType, values: impl Iterator<Item = sea_orm::Value>) -> sea_orm::Value {
    sea_orm::Value::Array(of, Some(Box::new(values.collect())))
}

/// An array as PostgreSQL writes it: `{1,NULL,2}`.
fn text<T>(
    values: Vec<Option<T>>,
    mut write: impl FnMut(&mut String, T) -> std::fmt::Result,
) -> sea_orm::Value {
    let mut text = String::with_capacity(values.len() * 8 + 2);
    text.push('{');
    for (index, value) in values.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        match value {
            // Writing to a string never fails.
            Some(value) => write(&mut text, value).unwrap_or_default(),
            None => text.push_str("NULL"),
        }
    }
    text.push('}');
    sea_orm::Value::String(Some(text))
}

/// Between quotes only these two have a meaning.
fn quote(text: &mut String, value: &str) {
    text.push('"');
    let mut rest = value;
    while let Some(at) = rest.find(['"', '\\']) {
        text.push_str(&rest[..at]);
        text.push('\\');
        text.push_str(&rest[at..=at]);
        rest = &rest[at + 1..];
    }
    text.push_str(rest);
    text.push('"');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn only(value: Value<'static>) -> (String, sea_orm::Value) {
        let query = query(Statement::new(&Arc::from("SELECT $1"), vec![value]));
        (query.sql, query.values.unwrap().0.remove(0))
    }

    #[test]
    fn an_array_with_a_null_is_a_text() {
        let texts = [Some("plain"), None, Some(r#"a "b" \ {c}, é"#), Some(""), Some("NULL")];
        let texts = texts.map(|text| text.map(Into::into)).to_vec();
        let (sql, bound) = only(Value::TextArray(texts));
        assert_eq!(sql, "SELECT $1 /* arrays as text */");
        let expected = r#"{"plain",NULL,"a \"b\" \\ {c}, é","","NULL"}"#;
        assert_eq!(bound, sea_orm::Value::String(Some(expected.to_owned())));
        let (_, bound) = only(Value::I64Array(vec![Some(-1), None]));
        assert_eq!(bound, sea_orm::Value::String(Some("{-1,NULL}".to_owned())));
    }

    #[test]
    fn an_array_without_one_stays_an_array() {
        let (sql, bound) = only(Value::I64Array(vec![Some(1), Some(2)]));
        assert_eq!(sql, "SELECT $1");
        let values = vec![sea_orm::Value::BigInt(Some(1)), sea_orm::Value::BigInt(Some(2))];
        assert_eq!(bound, sea_orm::Value::Array(ArrayType::BigInt, Some(Box::new(values))));
        let (_, empty) = only(Value::TextArray(Vec::new()));
        assert_eq!(empty, sea_orm::Value::Array(ArrayType::String, Some(Box::default())));
    }
}
