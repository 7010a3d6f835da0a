use std::time::Duration;

use anyhow::{Context, Result};
use outbox::Config;
use outbox::relay::RelayStats;
use tokio::time::{Instant, sleep};

use crate::database::Database;
use crate::kafka::{Kafka, Outage};
use crate::lanes::{Call, Lanes};
use crate::reader::Reader;
use crate::report::{Counted, Report};
use crate::scrape::Scrape;
use crate::service;

/// A service under load whose Kafka goes away and comes back.
#[derive(Debug, Clone)]
pub struct Run {
    /// Scans a second.
    pub rate: u32,
    /// Before the outage.
    pub before: Duration,
    /// The outage.
    pub down: Duration,
    /// After everything is published at once again.
    pub after: Duration,
    /// What the outage looks like.
    pub outage: Outage,
}

/// What a run has shown.
#[derive(Debug)]
pub struct Outcome {
    /// The sums.
    pub report: Report,
    /// Calls before Kafka went away.
    pub before: Vec<Call>,
    /// Calls from then on, until each lane was published at once again.
    pub outage: Vec<Call>,
    /// Calls after that.
    pub after: Vec<Call>,
    /// From the return of Kafka until each lane was published at once again.
    pub resumed: Duration,
    /// The first error of a call.
    pub error: Option<String>,
    /// What the relay has done.
    pub relay: RelayStats,
    /// Hints that reached the relay by Redis.
    pub hints: u64,
    /// Changes of the relay's pace of polling.
    pub transitions: u64,
}

/// Calls of a lane in a row that were published at once: then it has resumed.
const RESUMED: u64 = 5;
const PATIENCE: Duration = Duration::from_secs(180);

impl Run {
    /// Runs the service and, as in another process, the relay. `variables` are the environment of both; what is between
    /// them is the database and Redis.
    ///
    /// # Errors
    ///
    /// If something does not start, or does not come to its end. Sums that are wrong are for [`Report::verdict`].
    pub async fn run(
        &self,
        kafka: &mut Kafka,
        database: &Database,
        variables: &[(&str, &str)],
    ) -> Result<Outcome> {
        let kafka_url = kafka.url();
        let config = |relays: &str| {
            let own = [
                ("OUTBOX_MODE", "direct_first"),
                ("OUTBOX_STORE_URL", database.url()),
                ("OUTBOX_TRANSPORT_URL", &kafka_url),
                ("OUTBOX_PROCESSOR_ENABLED", relays),
                ("OUTBOX_METRICS_LISTEN", "127.0.0.1:0"),
            ];
            let text = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            Config::sources().variables(own.iter().chain(variables).map(text)).load()
        };
        let reader = Reader::start(kafka.client()).await?;
        let relay = config("true")?.start().await?;
        let (outbox, publisher) = service::start(&config("false")?, database.pool()).await?;
        let metrics = outbox.metrics_address().context("metrics.enabled is off")?;
        let counted_before = Scrape::of(metrics).await?;

        let lanes = Lanes::start(&publisher, self.rate);
        sleep(self.before).await;
        let went = Instant::now();
        kafka.goes_away(self.outage).await;
        sleep(self.down).await;
        kafka.comes_back().await;
        let came = Instant::now();
        let direct_again = tokio::time::timeout(PATIENCE, lanes.are_direct(RESUMED)).await;
        direct_again.context("it does not resume")?;
        let resumed_at = Instant::now();
        sleep(self.after).await;
        let (calls, error) = lanes.stop().await?;
        tokio::time::timeout(PATIENCE, outbox.drained()).await.context("the outbox is not drained")??;
        let counted_after = Scrape::of(metrics).await?;
        let records = reader.finish().await?;
        outbox.shutdown().await?;
        let relay = relay.shutdown().await?;

        let counted = Counted::between(&counted_before, &counted_after);
        let report = Report::compare(&calls, counted, &records, database.left().await?);
        // A call that was under way when Kafka went has seen it go.
        let ended_before = |call: &Call| call.at + call.took < went;
        let (before, rest): (Vec<Call>, Vec<Call>) = calls.into_iter().partition(ended_before);
        let (outage, after) = rest.into_iter().partition(|call| call.at < resumed_at);
        let moved =
            |name: &str, labels: &[&str]| counted_after.sum(name, labels) - counted_before.sum(name, labels);
        Ok(Outcome {
            report,
            before,
            outage,
            after,
            resumed: resumed_at - came,
            error,
            relay,
            hints: moved("outbox_wakeups_total", &["source=\"redis\""]),
            transitions: moved("outbox_poll_transitions_total", &[]),
        })
    }
}
