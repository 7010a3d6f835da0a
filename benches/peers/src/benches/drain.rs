//! How fast a backlog goes, when the broker takes no time.

use std::time::Duration;

use anyhow::Result;

use super::measure::{Backlogs, Entry};
use crate::Workload;
use crate::peers::{Backbone, Graphile, Hexeract, Ours, Oxide, Peer, Pgmq};
use crate::report::Report;

pub(crate) const NAME: &str = "peers-drain";

const RIVALS: [Entry; 7] = [
    (&Oxide { notifies: true }, 1),
    (&Oxide { notifies: false }, 1),
    (&Pgmq { notifies: false }, 1),
    (&Hexeract, 10),
    (&Backbone, 10),
    (&Graphile::Backlog, 10),
    (&Graphile::Bursts, 1),
];

pub(crate) async fn run(workload: &Workload, report: &mut Report) -> Result<()> {
    let ours = &[&Ours::KEYED as &dyn Peer, &Ours::UNKEYED];
    let bench = Backlogs { bench: NAME, transport: "none", pause: Duration::ZERO, ours, rivals: &RIVALS };
    bench.run(workload, report).await
}
