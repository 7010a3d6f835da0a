use std::collections::BTreeSet;
use std::future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_nats::connection::State;
use async_nats::jetstream::{self, context::ContextBuilder};
use async_nats::{Client, ConnectError, Event, ServerError};
use futures_util::future::{Either, select};
use tokio::runtime::Builder;
#[cfg(feature = "subscription")]
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot, watch};
#[cfg(feature = "subscription")]
use tokio::task::JoinHandle;

use crate::endpoint::Endpoint;

/// One connection to the broker, which is never repaired: when it is lost or given up, it is gone with everything in it.
///
/// async-nats repairs a lost connection by itself, and then sends what still waits in its queue, also for callers that
/// have long given up. Dropping its handles does not prevent it: its task connects again and writes on until the queue
/// is empty. A message sent that late may overtake later ones that somebody else has published meanwhile.
///
/// Therefore the client lives on a runtime of its own, on a thread of its own. Ending the connection drops that
/// runtime: its tasks, the queue, the buffers and the socket are gone, and all who wait for an acknowledgement learn it
/// at once. Only what the operating system had already taken can still arrive.
pub(crate) struct Connection {
    pub(crate) client: Client,
    pub(crate) jetstream: jetstream::Context,
    #[cfg(feature = "subscription")]
    runtime: Handle,
    stop: Arc<Notify>,
    ended: watch::Receiver<()>,
    doubtful: AtomicBool,
    forbidden: Forbidden,
}

/// Subjects that the server has refused.
type Forbidden = Arc<Mutex<BTreeSet<String>>>;

/// A text, if it failed.
type Opened = Result<(Client, jetstream::Context), String>;

impl Connection {
    /// Connects. A dropped future stops the attempt.
    pub(crate) async fn open(endpoint: &Endpoint, acks_in_flight: usize) -> Result<Self, String> {
        let stop = Arc::new(Notify::new());
        let (opened, opening) = oneshot::channel();
        let (alive, ended) = watch::channel(());
        let forbidden = Forbidden::default();
        let task = live(endpoint.clone(), acks_in_flight, stop.clone(), forbidden.clone(), opened);
        let runtime =
            Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
        #[cfg(feature = "subscription")]
        let handle = runtime.handle().clone();
        let thread = std::thread::Builder::new().name("outbox-nats".to_owned());
        let spawned = thread.spawn(move || {
            runtime.block_on(task);
            // Does not wait for a name server that takes its time.
            runtime.shutdown_background();
            drop(alive);
        });
        spawned.map_err(|error| error.to_string())?;
        let broken = |_| Err("the attempt was given up".to_owned());
        let (client, jetstream) = opening.await.unwrap_or_else(broken)?;
        Ok(Self {
            client,
            jetstream,
            #[cfg(feature = "subscription")]
            runtime: handle,
            stop,
            ended,
            doubtful: AtomicBool::new(false),
            forbidden,
        })
    }

    /// Runs something beside the client. It is dropped when the connection ends.
    #[cfg(feature = "subscription")]
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.runtime.spawn(task)
    }

    pub(crate) fn is_up(&self) -> bool {
        let running = self.ended.has_changed().is_ok();
        running && self.client.connection_state() == State::Connected
    }

    /// Whether it may still hold back a message whose outcome is unknown.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.doubtful.load(Ordering::Acquire)
    }

    pub(crate) fn doubt(&self) {
        self.doubtful.store(true, Ordering::Release);
    }

    /// Whether the server has said that this user may not publish to the subject. It says so beside the
    /// acknowledgements, of which there is none.
    pub(crate) fn forbids(&self, subject: &str) -> bool {
        let forbidden = self.forbidden.lock().unwrap_or_else(PoisonError::into_inner);
        forbidden.contains(subject)
    }

    /// Makes it end soon.
    pub(crate) fn stop(&self) {
        self.stop.notify_one();
    }

    /// Ends it: afterwards nothing can leave this process through it any more.
    pub(crate) async fn end(&self) {
        self.stop();
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The life of a connection: until it is lost, or nobody wants it any more.
async fn live(
    endpoint: Endpoint,
    acks_in_flight: usize,
    stop: Arc<Notify>,
    forbidden: Forbidden,
    mut opened: oneshot::Sender<Opened>,
) {
    let outcome = {
        let connecting = pin!(connect(&endpoint, acks_in_flight, &stop, forbidden));
        match select(connecting, pin!(opened.closed())).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right(_) => return,
        }
    };
    let connected = outcome.is_ok();
    if opened.send(outcome).is_ok() && connected {
        stop.notified().await;
    }
}

async fn connect(
    endpoint: &Endpoint,
    acks_in_flight: usize,
    stop: &Arc<Notify>,
    forbidden: Forbidden,
) -> Opened {
    let lost = stop.clone();
    let before = Arc::new(AtomicBool::new(false));
    // async-nats asks this before each attempt, the first included. The second means that the connection was lost.
    let options = endpoint.options()?.reconnect_to_server_callback(move |_, _| {
        let (lost, again) = (lost.clone(), before.swap(true, Ordering::AcqRel));
        async move {
            if again {
                lost.notify_one();
                future::pending::<()>().await;
            }
            None
        }
    });
    let options = options.event_callback(move |event| {
        note(&forbidden, &event);
        future::ready(())
    });
    let client = options.connect(endpoint.servers()).await.map_err(|error| reason(endpoint, &error))?;
    let jetstream = ContextBuilder::new()
        // The deadline of the whole batch comes first; this one is for nobody.
        .timeout(endpoint.request_timeout * 2)
        .max_ack_inflight(acks_in_flight * 2)
        .build(client.clone());
    Ok((client, jetstream))
}

/// What a plain-text server makes of our greeting reads like a broken one.
fn reason(endpoint: &Endpoint, error: &ConnectError) -> String {
    let plain = format!("{error:?}").contains("InvalidContentType");
    if plain && endpoint.tls.required {
        return format!("{error}; the server does not encrypt, and tls=required was asked for");
    }
    error.to_string()
}

fn note(forbidden: &Forbidden, event: &Event) {
    let Event::ServerError(ServerError::Other(text)) = event else {
        return;
    };
    let subject = text.split_once("Permissions Violation for Publish to \"");
    let Some((subject, _)) = subject.and_then(|(_, rest)| rest.split_once('"')) else {
        tracing::warn!("the NATS server reports: {text}");
        return;
    };
    let mut forbidden = forbidden.lock().unwrap_or_else(PoisonError::into_inner);
    if forbidden.insert(subject.to_owned()) {
        tracing::warn!("the NATS server reports: {text}");
    }
}
