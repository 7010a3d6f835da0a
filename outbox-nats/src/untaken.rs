//! Messages that nobody answered for. The server says the same of a subject that no stream has and of a stream that has
//! no leader at the moment, so it is asked which of the two it is.

use std::collections::{BTreeMap, BTreeSet};

use async_nats::jetstream::context::RequestErrorKind;
use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};

use crate::connection::Connection;
use crate::error::is_disabled;
use crate::stream::{NAMES, Unasked, taken_by};

/// Whose messages these are.
#[derive(Debug)]
pub(crate) enum Taker {
    /// No stream has the subject.
    Nobody,
    /// This stream has it, and did not answer.
    Stream(String),
    /// The server does not say; the text says why.
    Unsaid(String),
    /// This user may not ask.
    Forbidden,
}

/// Asks about each subject once, and about all at the same time: who is asked may be what is missing.
pub(crate) async fn takers<'a>(
    connection: &Connection,
    subjects: BTreeSet<&'a str>,
    deadline: Instant,
) -> BTreeMap<&'a str, Taker> {
    let asked =
        subjects.into_iter().map(async |subject| (subject, taker(connection, subject, deadline).await));
    join_all(asked).await.into_iter().collect()
}

async fn taker(connection: &Connection, subject: &str, deadline: Instant) -> Taker {
    // Such a question is never answered, so only the first of a connection waits for it.
    if connection.forbids(NAMES) {
        return Taker::Forbidden;
    }
    match timeout_at(deadline, taken_by(&connection.jetstream, subject)).await {
        Ok(answer) => Taker::said(answer),
        Err(_) if connection.forbids(NAMES) => Taker::Forbidden,
        Err(_) => Taker::Unsaid("no answer in time".to_owned()),
    }
}

impl Taker {
    fn said(answer: Result<Option<String>, Unasked>) -> Self {
        match answer {
            Ok(Some(stream)) => Self::Stream(stream),
            Ok(None) => Self::Nobody,
            // Where JetStream is not enabled there are no streams.
            Err(Unasked::Request(error)) if error.kind() == RequestErrorKind::NoResponders => Self::Nobody,
            Err(Unasked::JetStream(error)) if is_disabled(&error) => Self::Nobody,
            Err(Unasked::Request(error)) => Self::Unsaid(error.to_string()),
            Err(Unasked::JetStream(error)) => Self::Unsaid(error.to_string()),
        }
    }
}
