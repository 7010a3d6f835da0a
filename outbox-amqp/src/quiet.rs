use std::cell::RefCell;
use std::sync::OnceLock;

use tracing::dispatcher::{self, DefaultGuard};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Interest, NoSubscriber};
use tracing::{Dispatch, Event, Metadata, Subscriber};

/// Where the client logs each message that comes back, as a warning, with its headers and its payload. It has no setting
/// for it, and the payload is for nobody who reads logs.
const RETURNS: &str = "lapin::returned_messages";

thread_local! {
    static FILTER: RefCell<Option<DefaultGuard>> = const { RefCell::new(None) };
}

/// Leaves the messages that come back out of what this thread logs, for as long as it lives: meant for the one in which
/// the client reads.
///
/// Not in a program that has no subscriber: the first one of any kind ends that `tracing` writes to `log` instead, in the
/// whole process.
pub(crate) fn this_thread() {
    static ALL_BUT_RETURNS: OnceLock<Dispatch> = OnceLock::new();
    let subscriber = dispatcher::get_default(Dispatch::clone);
    if dispatcher::has_been_set() && !subscriber.is::<NoSubscriber>() {
        FILTER.with_borrow_mut(|filter| {
            filter.get_or_insert_with(|| {
                let dispatch = ALL_BUT_RETURNS.get_or_init(|| Dispatch::new(AllButReturns(subscriber)));
                dispatcher::set_default(dispatch)
            });
        });
    }
}

/// Passes everything else on to the subscriber of the program.
struct AllButReturns(Dispatch);

impl Subscriber for AllButReturns {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if metadata.target() == RETURNS { Interest::never() } else { self.0.register_callsite(metadata) }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() != RETURNS && self.0.enabled(metadata)
    }

    /// Asks for nothing that the program does not ask for itself.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::OFF)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.0.new_span(span)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.0.record(span, values);
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.0.record_follows_from(span, follows);
    }

    fn event(&self, event: &Event<'_>) {
        if event.metadata().target() != RETURNS {
            self.0.event(event);
        }
    }

    fn enter(&self, span: &Id) {
        self.0.enter(span);
    }

    fn exit(&self, span: &Id) {
        self.0.exit(span);
    }

    fn clone_span(&self, span: &Id) -> Id {
        self.0.clone_span(span)
    }

    fn try_close(&self, span: Id) -> bool {
        self.0.try_close(span)
    }
}
