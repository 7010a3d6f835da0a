//! Is everything caught that it is there to catch?

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::Options;
use crate::brokers::BrokerKind;
use crate::campaign::{Campaign, Continue, Order, line};
use crate::fault::Fault;
use crate::stores::StoreKind;
use crate::table::{markdown, name};

/// In how many runs a defect must be caught.
const RUNS: u64 = 10;

/// A defect that the library has when it is built with all of them and told to have this one.
struct Defect {
    name: &'static str,
    what: &'static str,
    store: StoreKind,
    transport: BrokerKind,
    /// Where it shows; none: any.
    faults: &'static [Fault],
    /// How many relays it takes.
    relays: usize,
}

const DEFECTS: &[Defect] = &[
    Defect {
        name: "settle-before-ack",
        what: "a message counts as delivered when it is handed to the client",
        store: StoreKind::Postgres,
        transport: BrokerKind::Nats,
        faults: &[Fault::BrokerKill, Fault::RelayBrokerCut, Fault::RelayKill],
        relays: 2,
    },
    Defect {
        name: "unknown-is-delivered",
        what: "a message whose confirmation did not come counts as delivered",
        store: StoreKind::Postgres,
        transport: BrokerKind::Nats,
        faults: &[Fault::BrokerKill, Fault::RelayBrokerHole, Fault::RelayBrokerReset],
        relays: 2,
    },
    Defect {
        name: "no-mandatory",
        what: "RabbitMQ confirms what no queue takes",
        store: StoreKind::Postgres,
        transport: BrokerKind::Rabbitmq,
        faults: &[Fault::RelayTerm],
        relays: 2,
    },
    Defect {
        name: "trust-each-ack",
        what: "each confirmation of the AMQP client is taken at its word",
        store: StoreKind::Postgres,
        transport: BrokerKind::Rabbitmq,
        faults: &[Fault::RelayTerm],
        relays: 2,
    },
    Defect {
        name: "drop-without-flush",
        what: "Kafka's delivery reports are not waited for",
        store: StoreKind::Postgres,
        transport: BrokerKind::Kafka,
        faults: &[Fault::RelayKill, Fault::RelayBrokerReset],
        relays: 2,
    },
    Defect {
        name: "no-epoch-check",
        what: "a settle does not look whether its shard is still its own",
        store: StoreKind::Postgres,
        transport: BrokerKind::Nats,
        faults: &[Fault::RelayDatabaseHold],
        relays: 2,
    },
    Defect {
        name: "wall-clock-leases",
        what: "a lease has run out by the relay's own clock, which is a minute ahead",
        store: StoreKind::Postgres,
        transport: BrokerKind::Nats,
        faults: &[Fault::RelayTerm],
        relays: 2,
    },
    Defect {
        name: "unsorted-rows",
        what: "a message goes to the end of its key, and not to its place",
        store: StoreKind::Postgres,
        transport: BrokerKind::Nats,
        faults: &[Fault::RelayBrokerCut, Fault::RelayBrokerReset],
        relays: 2,
    },
    Defect {
        name: "no-sweep",
        what: "what is committed below the cursor is not looked for",
        store: StoreKind::Postgres,
        transport: BrokerKind::Nats,
        faults: &[Fault::ConsumerKill],
        relays: 2,
    },
    Defect {
        name: "many-of-a-key",
        what: "several messages of a key are under way where a broker may refuse one of them",
        store: StoreKind::Postgres,
        transport: BrokerKind::Nats,
        faults: &[Fault::BrokerRefuse],
        relays: 2,
    },
    Defect {
        name: "stop-without-finishing",
        what: "a relay that is told to end drops what is under way",
        store: StoreKind::Postgres,
        transport: BrokerKind::Nats,
        faults: &[Fault::RelayTerm],
        relays: 2,
    },
    Defect {
        name: "ack-before-commit",
        what: "a consumer acknowledges before its handler",
        store: StoreKind::Postgres,
        transport: BrokerKind::Nats,
        faults: &[Fault::ConsumerKill],
        relays: 2,
    },
    Defect {
        name: "inbox-admits-twice",
        what: "the inbox does not look how many rows its insert has changed",
        store: StoreKind::Postgres,
        transport: BrokerKind::Redis,
        // A consumer that comes back asks for what it had under way. Copies of the relay are for the inbox alone, and
        // NATS would drop them.
        faults: &[Fault::RelayKill, Fault::RelayBrokerCut],
        relays: 2,
    },
    Defect {
        name: "repeatable-read",
        what: "a relay on MariaDB works at the default isolation level",
        store: StoreKind::Mariadb,
        transport: BrokerKind::Nats,
        faults: &[Fault::RelayTerm, Fault::RelayDatabaseHold],
        // Of two, each has every second row at best, and deletes what it has delivered row by row.
        relays: 1,
    },
];

/// Runs each defect until it is caught.
pub(crate) async fn carry_out(which: &str, options: &Options) -> Result<ExitCode> {
    let chosen: Vec<&Defect> =
        DEFECTS.iter().filter(|defect| which == "all" || which == defect.name).collect();
    if chosen.is_empty() {
        let names: Vec<_> = DEFECTS.iter().map(|defect| defect.name).collect();
        bail!("there is no defect {which:?}, but there are {}", names.join(", "));
    }
    let mut table = markdown();
    table.set_header(["defect", "what is wrong", "database", "broker", "caught in run", "by"]);
    let mut all_caught = true;
    for defect in chosen {
        let order = Order {
            runs: RUNS,
            store: Some(options.store.unwrap_or(defect.store)),
            transport: Some(options.transport.unwrap_or(defect.transport)),
            faults: if options.faults.is_empty() { defect.faults.to_vec() } else { options.faults.clone() },
            relays: defect.relays,
            sabotage: Some(defect.name.to_owned()),
            ..options.order()
        };
        let mut campaign = Campaign::new(options.keep.clone())?;
        let mut runs = 0;
        let mut caught = None;
        let each = |outcome: crate::run::Outcome, _| {
            runs += 1;
            eprintln!("{}: {}", defect.name, line(&outcome.record));
            let mut invariants: Vec<String> =
                outcome.record.violations.iter().map(|violation| violation.invariant.to_string()).collect();
            invariants.sort();
            invariants.dedup();
            caught = (!invariants.is_empty()).then(|| invariants.join(", "));
            Ok(if caught.is_some() { Continue::No } else { Continue::Yes })
        };
        campaign.carry_out(&order, |_| false, each).await?;
        all_caught &= caught.is_some();
        let number = if caught.is_some() { runs.to_string() } else { format!("not in {runs}") };
        table.add_row([
            format!("`{}`", defect.name),
            defect.what.to_owned(),
            name(&defect.store),
            name(&defect.transport),
            number,
            caught.unwrap_or_else(|| "nothing".to_owned()),
        ]);
    }
    println!("{table}");
    Ok(if all_caught { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
