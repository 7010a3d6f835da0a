use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::Notify;

/// What librdkafka has said of the records of one call: a place for each, and one wake-up when the last is there.
pub(crate) struct Call {
    reports: Box<[OnceLock<Report>]>,
    /// Records without a report, and one for whoever still hands over.
    open: AtomicUsize,
    done: Notify,
}

/// The partition that took the record, or why none did.
pub(crate) type Report = Result<i32, RDKafkaErrorCode>;

impl Call {
    pub(crate) fn new(records: usize) -> Arc<Self> {
        let reports = (0..records).map(|_| OnceLock::new()).collect();
        Arc::new(Self { reports, open: AtomicUsize::new(1), done: Notify::new() })
    }

    /// A ticket that travels with a record, and comes back with its report.
    pub(crate) fn ticket(self: &Arc<Self>, place: usize) -> Box<Ticket> {
        self.open.fetch_add(1, Ordering::Relaxed);
        Box::new(Ticket { call: Some(Arc::clone(self)), place })
    }

    /// Waits until every ticket is back. To be called once, when all tickets are made.
    pub(crate) async fn finished(&self) {
        self.returned();
        self.done.notified().await;
    }

    /// What was said of a record; `None` if nothing was, so far.
    pub(crate) fn report(&self, place: usize) -> Option<Report> {
        self.reports.get(place)?.get().copied()
    }

    fn returned(&self) {
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done.notify_one();
        }
    }
}

/// Travels through librdkafka with a record.
pub(crate) struct Ticket {
    call: Option<Arc<Call>>,
    place: usize,
}

impl Ticket {
    pub(crate) fn settle(mut self, report: Report) {
        if let Some(call) = self.call.take() {
            if let Some(place) = call.reports.get(self.place) {
                // A second report of a record would be a mistake of librdkafka; the first one counts.
                let _ = place.set(report);
            }
            call.returned();
        }
    }
}

impl Drop for Ticket {
    /// The record was not taken: nobody waits for a report.
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            call.returned();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn the_last_ticket_wakes_the_call() {
        let call = Call::new(3);
        let (first, second, refused) = (call.ticket(0), call.ticket(1), call.ticket(2));
        let mut finished = Box::pin(call.finished());
        assert!(finished.as_mut().now_or_never().is_none());
        second.settle(Err(RDKafkaErrorCode::Fatal));
        drop(refused);
        assert!(finished.as_mut().now_or_never().is_none());
        first.settle(Ok(7));
        assert!(finished.as_mut().now_or_never().is_some());
        assert_eq!(call.report(0), Some(Ok(7)));
        assert_eq!(call.report(1), Some(Err(RDKafkaErrorCode::Fatal)));
        assert_eq!(call.report(2), None);
    }

    #[test]
    fn a_call_without_records_is_finished() {
        assert!(Call::new(0).finished().now_or_never().is_some());
    }
}
