//! How fast a backlog goes to a broker that needs 2 ms for each call, without any order.

use std::time::Duration;

use anyhow::Result;

use super::measure::{Backlogs, Entry};
use crate::Workload;
use crate::peers::{Backbone, Graphile, Hexeract, Ours, Oxide, Peer, Pgmq};
use crate::report::Report;

pub(crate) const NAME: &str = "peers-slow-broker";

const PAUSE: Duration = Duration::from_millis(2);

const RIVALS: [Entry; 6] = [
    (&Oxide { notifies: true }, 100),
    (&Pgmq { notifies: false }, 1),
    (&Hexeract, 100),
    (&Backbone, 100),
    (&Graphile::Backlog, 10),
    (&Graphile::Bursts, 10),
];

pub(crate) async fn run(workload: &Workload, report: &mut Report) -> Result<()> {
    let ours = &[&Ours::UNKEYED as &dyn Peer];
    Backlogs { bench: NAME, transport: "2 ms", pause: PAUSE, ours, rivals: &RIVALS }
        .run(workload, report)
        .await
}
