use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::Workload;
use crate::broker::Broker;
use crate::database::Database;
use crate::peers::Peer;
use crate::report::{Report, progress};

/// Somebody who takes part, and which part of the messages it gets: some would take minutes.
pub(super) type Entry = (&'static dyn Peer, u32);

/// Backlogs that go to a broker.
pub(super) struct Backlogs {
    pub(super) bench: &'static str,
    pub(super) transport: &'static str,
    /// What the broker needs for each call.
    pub(super) pause: Duration,
    /// Ours, in the ways that each rival is compared with.
    pub(super) ours: &'static [&'static dyn Peer],
    pub(super) rivals: &'static [Entry],
}

impl Backlogs {
    /// In turn, so that whatever else the machine does at a time meets all of them; the best round of each counts.
    pub(super) async fn run(&self, workload: &Workload, report: &mut Report) -> Result<()> {
        let rivals = self.rivals.iter().filter(|(rival, _)| rival.name().contains(&workload.only));
        let ours = self.ours.iter().map(|ours| (*ours, workload.messages, 0.0));
        let rivals = rivals.map(|(rival, part)| (*rival, (workload.messages / part).max(1), 0.0));
        let mut entries: Vec<_> = ours.chain(rivals).collect();
        for round in 1..=workload.rounds {
            for (peer, messages, best) in &mut entries {
                let time = self.measure(*peer, *messages).await.with_context(|| peer.name())?;
                let rate = f64::from(*messages) / time.as_secs_f64();
                progress(format_args!("{}, round {round}: {}: {rate:.0} msg/s", self.bench, peer.name()));
                *best = rate.max(*best);
            }
        }
        let (ours, rivals) = entries.split_at(self.ours.len());
        for (rival, messages, raw) in rivals {
            for (peer, _, rate) in ours {
                let variant = format!("{}, {messages} messages; {}", rival.name(), peer.name());
                report.push((self.bench, self.transport), variant, (*rate, *raw), "msg/s");
            }
        }
        Ok(())
    }

    /// From before the worker is started until everything is handed over and settled.
    async fn measure(&self, peer: &dyn Peer, messages: u32) -> Result<Duration> {
        let database = Database::fresh().await?;
        peer.create(&database).await.context("its tables")?;
        database.fill(&peer.fill(messages)).await.context("its messages")?;
        let broker = Broker::new(messages, self.pause);
        let started = Instant::now();
        let mut worker = peer.start(&database, broker.clone()).await?;
        worker.until(broker.complete()).await?;
        worker.settled().await;
        let time = started.elapsed();
        worker.stop().await?;
        let left = database.count(peer.left()).await?;
        ensure!(left == 0, "{left} of {messages} messages are not settled");
        database.remove().await?;
        Ok(time)
    }
}
