use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use outbox::{OutboxMessage, Transport, connect_subscription, connect_transport};

use crate::brokers::{Broker, TOPIC};
use crate::database::Database;
use crate::eventually::until;
use crate::order::{Fate, Order};
use crate::process::Worker;
use crate::worker::Settings;

/// How long anything may take that works.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A broker and a database, both for one test.
pub(crate) struct World {
    pub(crate) broker: Box<dyn Broker>,
    pub(crate) database: Database,
    transport: Arc<dyn Transport>,
}

/// What is asked of the brokers for a member of the group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    pub(crate) prefetch: usize,
    pub(crate) redeliver_after: Duration,
}

impl Default for Member {
    /// One whose messages come again soon.
    fn default() -> Self {
        Self { prefetch: 64, redeliver_after: Duration::from_secs(1) }
    }
}

/// Runs a case, and cleans up whatever happened. Nothing is done if the broker is not there.
pub(crate) async fn run(broker: Option<impl Broker>, case: impl AsyncFnOnce(&World)) {
    let Some(broker) = broker else { return };
    let Some(database) = Database::create().await else { return };
    let transport = connect_transport(&broker.transport()).await.unwrap();
    let world = World { broker: Box::new(broker), database, transport };
    let ended = AssertUnwindSafe(case(&world)).catch_unwind().await;
    world.broker.cleanup().await;
    world.database.drop().await;
    if let Err(panicked) = ended {
        resume_unwind(panicked);
    }
}

impl World {
    fn subscription(&self, member: Member) -> String {
        let Member { prefetch, redeliver_after } = member;
        let millis = redeliver_after.as_millis();
        format!("{}&prefetch={prefetch}&redeliver_after={millis}ms", self.broker.subscription())
    }

    /// Makes the group, so that what is published from now on is for it, and says how to start such a member of it.
    pub(crate) async fn group(&self, member: Member) -> Settings {
        let mut subscription = connect_subscription(&self.subscription(member)).await.unwrap();
        subscription.check().await.unwrap();
        subscription.close(PATIENCE).await.unwrap();
        self.settings(member)
    }

    /// Publishes, and returns when the broker has confirmed all of them.
    pub(crate) async fn publish(&self, orders: &[Order]) {
        let messages: Vec<OutboxMessage> = orders.iter().map(|order| order.message(TOPIC)).collect();
        for batch in messages.chunks(self.transport.capabilities().max_batch.min(200)) {
            for published in self.transport.publish(batch).await {
                published.unwrap();
            }
        }
    }

    fn settings(&self, member: Member) -> Settings {
        Settings {
            database: self.database.url.clone(),
            subscription: self.subscription(member),
            concurrency: 4,
            dies_after: None,
        }
    }

    /// Waits for so many effects.
    pub(crate) async fn effects(&self, count: usize) -> Duration {
        let what = format!("{count} effects");
        let limit = PATIENCE.max(Duration::from_millis(50) * u32::try_from(count).unwrap());
        until(&what, limit, async || self.database.count().await >= count).await
    }

    /// Nothing of what was published comes again to a worker that is there for long enough, and nothing was given up.
    pub(crate) async fn is_all_acknowledged(&self, settings: &Settings, number: i32) {
        let time = 2 * self.broker.redeliver_after(Member::default());
        let effects = self.database.count().await;
        let worker = Worker::start(settings).await;
        self.publish(&[Order::new(number, Fate::Takes(time.as_millis().try_into().unwrap()))]).await;
        self.effects(effects + 1).await;
        let stats = worker.stop().await;
        assert_eq!((stats.get("received"), stats.get("applied")), (1, 1), "{stats:?}");
        assert_eq!(self.broker.dead_letters().await, []);
        assert_eq!(self.database.counted_tries().await, 0, "the tries of what was handled are forgotten");
    }
}
