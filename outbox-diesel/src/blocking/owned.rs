use std::borrow::Cow;

use outbox_sql::{Statement, Step, Value};

/// A statement that can go to a thread: it borrows nothing.
pub(crate) fn statement(statement: Statement<'_>) -> Statement<'static> {
    let values = statement.values.into_iter().map(value).collect();
    Statement { sql: statement.sql, values, reuse: statement.reuse }
}

/// The same for a step of a transaction.
pub(super) fn step(step: Step<'_>) -> Step<'static> {
    match step {
        Step::Fence { statement: fence, expect } => Step::Fence { statement: statement(fence), expect },
        Step::Write(write) => Step::Write(statement(write)),
        Step::Also(also) => Step::Also(statement(also)),
        Step::Read(read) => Step::Read(statement(read)),
    }
}

fn value(value: Value<'_>) -> Value<'static> {
    match value {
        Value::I64(value) => Value::I64(value),
        Value::Text(value) => Value::Text(value.map(own)),
        Value::Bytes(value) => Value::Bytes(value.map(own)),
        Value::Uuid(value) => Value::Uuid(value),
        Value::I64Array(values) => Value::I64Array(values),
        Value::TextArray(values) => {
            Value::TextArray(values.into_iter().map(|value| value.map(own)).collect())
        }
        Value::BytesArray(values) => Value::BytesArray(values.into_iter().map(own).collect()),
        Value::UuidArray(values) => Value::UuidArray(values),
    }
}

fn own<T: ToOwned + ?Sized>(value: Cow<'_, T>) -> Cow<'static, T> {
    Cow::Owned(value.into_owned())
}
