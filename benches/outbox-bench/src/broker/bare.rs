use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Result;
use async_trait::async_trait;
use bytes::Bytes;
use outbox_core::{EnvelopeNames, OutboxMessage, SCHEMA_VERSION_HEADER};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::Carried;
use crate::raw::Row;

/// The `seq` of the first and of the last row of a page.
pub(crate) type Range = (i64, i64);

/// A broker's bare client, connected.
#[async_trait]
pub(crate) trait Bare: Send {
    /// Publishes pages as they come, with as many messages under way as the window says, and tells of each page when
    /// all of it is confirmed.
    async fn publish(
        &mut self,
        pages: mpsc::Receiver<Page>,
        done: mpsc::UnboundedSender<Range>,
    ) -> Result<()>;
}

/// Some rows on their way through a bare loop.
#[derive(Debug)]
pub(crate) struct Page {
    range: Range,
    records: Vec<Record>,
}

/// What a message brings for its broker.
#[derive(Debug)]
pub(crate) struct Record {
    pub(super) id: Uuid,
    pub(super) key: String,
    kind: String,
    content_type: String,
    created_at: SystemTime,
    pub(super) payload: Bytes,
}

/// Tells of a page when the last of its messages is confirmed, and lets go of it.
#[derive(Debug)]
pub(super) struct Awaited {
    range: Range,
    done: mpsc::UnboundedSender<Range>,
}

impl Page {
    pub(crate) fn of_rows(rows: Vec<Row>) -> Option<Self> {
        let range = (rows.first()?.seq, rows.last()?.seq);
        let records = rows.into_iter().map(|row| Record {
            id: row.id,
            key: row.ordering_key.unwrap_or_default(),
            kind: row.event_type.unwrap_or_default(),
            content_type: row.content_type,
            created_at: row.created_at.of_postgres(),
            payload: row.payload.into(),
        });
        Some(Self { range, records: records.collect() })
    }

    pub(crate) fn of_messages(messages: &[OutboxMessage]) -> Self {
        let records = messages.iter().map(|message| Record {
            id: *message.id().as_uuid(),
            key: message.ordering_key().map_or("", |key| key.as_str()).to_owned(),
            kind: message.event_type().to_owned(),
            content_type: message.content_type().to_owned(),
            created_at: message.created_at().unwrap_or_else(SystemTime::now),
            payload: message.payload().clone(),
        });
        Self { range: (0, 0), records: records.collect() }
    }

    /// The records, and what each of them holds until it is confirmed.
    pub(super) fn open(self, done: &mpsc::UnboundedSender<Range>) -> (Vec<Record>, Arc<Awaited>) {
        (self.records, Arc::new(Awaited { range: self.range, done: done.clone() }))
    }
}

impl Record {
    /// When it was written, as CloudEvents want it; nothing where it is not carried.
    pub(super) fn time(&self, carried: Carried) -> String {
        match carried {
            Carried::Id => String::new(),
            Carried::CloudEvents => humantime::format_rfc3339_nanos(self.created_at).to_string(),
        }
    }

    /// The headers, as one would write them by hand: those that our transports send.
    pub(super) fn headers<'r>(
        &'r self,
        carried: Carried,
        names: &EnvelopeNames,
        id: &'r str,
        time: &'r str,
    ) -> impl Iterator<Item = (&'static str, &'r str)> + use<'r> {
        let all = [
            (names.id, id),
            (names.specversion, "1.0"),
            (names.source, "outbox"),
            (names.kind, self.kind.as_str()),
            (names.content_type, self.content_type.as_str()),
            (SCHEMA_VERSION_HEADER, "1"),
            (names.time, time),
        ];
        let count = if carried == Carried::Id { 1 } else { all.len() };
        all.into_iter().take(count)
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        // Nobody listens any more after an error, which is then told elsewhere.
        let _ = self.done.send(self.range);
    }
}
