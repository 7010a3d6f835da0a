//! What is done to whom.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Something that can be taken from a run while it works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fault {
    /// Killed, and started again after a moment.
    RelayKill,
    /// Stopped for longer than its lease, and woken.
    RelayStop,
    /// Told to end, and started again: a deploy.
    RelayTerm,
    /// What it says to its database, and what it is told, waits for longer than its lease, and arrives then.
    RelayDatabaseHold,
    RelayDatabaseReset,
    RelayDatabaseHole,
    /// The connection is cut in the middle of an answer.
    RelayDatabaseCut,
    RelayBrokerReset,
    RelayBrokerHole,
    /// The broker gets everything, and its answers vanish.
    RelayBrokerHalf,
    /// The connection is cut in the middle of an answer: the broker has the message.
    RelayBrokerCut,
    ProducerKill,
    ProducerStop,
    ProducerDatabaseCut,
    ProducerDatabaseReset,
    ConsumerKill,
    ConsumerStop,
    ConsumerTerm,
    ConsumerBrokerReset,
    ConsumerBrokerCut,
    ConsumerBrokerHole,
    ConsumerDatabaseCut,
    BrokerKill,
    BrokerFreeze,
    BrokerRestart,
    /// It refuses everything for a moment, again and again: of two messages under way it may refuse the first and take the
    /// second.
    BrokerRefuse,
    DatabaseKill,
    DatabaseRestart,
}

impl Fault {
    pub(crate) const ALL: [Self; 28] = [
        Self::RelayKill,
        Self::RelayStop,
        Self::RelayTerm,
        Self::RelayDatabaseHold,
        Self::RelayDatabaseReset,
        Self::RelayDatabaseHole,
        Self::RelayDatabaseCut,
        Self::RelayBrokerReset,
        Self::RelayBrokerHole,
        Self::RelayBrokerHalf,
        Self::RelayBrokerCut,
        Self::ProducerKill,
        Self::ProducerStop,
        Self::ProducerDatabaseCut,
        Self::ProducerDatabaseReset,
        Self::ConsumerKill,
        Self::ConsumerStop,
        Self::ConsumerTerm,
        Self::ConsumerBrokerReset,
        Self::ConsumerBrokerCut,
        Self::ConsumerBrokerHole,
        Self::ConsumerDatabaseCut,
        Self::BrokerKill,
        Self::BrokerFreeze,
        Self::BrokerRestart,
        Self::BrokerRefuse,
        Self::DatabaseKill,
        Self::DatabaseRestart,
    ];

    /// How many relays may publish again what they had under way: a window each. The bound of duplicates is the sum over
    /// all injections.
    pub(crate) const fn windows(self) -> usize {
        match self {
            Self::RelayTerm
            | Self::ProducerKill
            | Self::ProducerStop
            | Self::ProducerDatabaseCut
            | Self::ProducerDatabaseReset
            | Self::ConsumerKill
            | Self::ConsumerStop
            | Self::ConsumerTerm
            | Self::ConsumerBrokerReset
            | Self::ConsumerBrokerCut
            | Self::ConsumerBrokerHole
            | Self::ConsumerDatabaseCut => 0,
            Self::RelayKill
            | Self::RelayStop
            | Self::RelayDatabaseHold
            | Self::RelayDatabaseReset
            | Self::RelayDatabaseHole
            | Self::RelayDatabaseCut
            | Self::RelayBrokerReset
            | Self::RelayBrokerHole
            | Self::RelayBrokerHalf
            | Self::RelayBrokerCut => 1,
            Self::BrokerKill
            | Self::BrokerFreeze
            | Self::BrokerRestart
            | Self::BrokerRefuse
            | Self::DatabaseKill
            | Self::DatabaseRestart => 2,
        }
    }

    /// Whether it needs a server of a database.
    pub(crate) fn needs_a_database_server(self) -> bool {
        self.to_string().contains("database")
    }

    /// Whether what the broker has must outlive its process.
    pub(crate) const fn needs_a_broker_that_remembers(self) -> bool {
        matches!(self, Self::BrokerKill | Self::BrokerRestart)
    }

    /// Whether the broker must be able to refuse what it took a moment ago.
    pub(crate) const fn needs_a_broker_that_refuses(self) -> bool {
        matches!(self, Self::BrokerRefuse)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = serde_json::to_value(self).map_err(|_| fmt::Error)?;
        f.pad(name.as_str().unwrap_or_default())
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        serde_json::from_value(name.into()).map_err(|_| {
            let names: Vec<String> = Self::ALL.iter().map(Self::to_string).collect();
            format!("there is {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_known_by_their_names() {
        for fault in Fault::ALL {
            assert_eq!(fault.to_string().parse(), Ok(fault));
        }
        assert_eq!(Fault::RelayDatabaseHold.to_string(), "relay-database-hold");
        assert!("relay-explode".parse::<Fault>().unwrap_err().contains("relay-kill"));
    }
}
