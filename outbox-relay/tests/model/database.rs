/// The tables. The messages of the one key are numbered in the order in which they are committed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Database {
    pub(crate) rows: Vec<Row>,
    pub(crate) owner: Option<u8>,
    pub(crate) epoch: u8,
    /// The lease of the owner has run out, by the database's clock.
    pub(crate) expired: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Row {
    Uncommitted,
    Fresh,
    /// In the deferred table: due, and tried again; it holds its key.
    Retrying,
    /// In the deferred table: it waits behind another.
    Held,
    /// Delivered.
    Gone,
}

/// What a relay decided about a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Outcome {
    Delivered,
    Retry,
    Hold,
}

impl Database {
    pub(crate) fn new(messages: u8) -> Self {
        Self { rows: vec![Row::Uncommitted; messages.into()], owner: None, epoch: 0, expired: false }
    }

    pub(crate) fn is_free(&self) -> bool {
        self.owner.is_none() || self.expired
    }

    pub(crate) fn acquire(&mut self, relay: u8) -> u8 {
        self.owner = Some(relay);
        self.epoch += 1;
        self.expired = false;
        self.epoch
    }

    pub(crate) fn of(&self, wanted: Row) -> impl Iterator<Item = u8> {
        (0..).zip(&self.rows).filter(move |(_, row)| **row == wanted).map(|(number, _)| number)
    }

    /// Carries out what was decided about a row, if it is where the relay has seen it: a row that has moved since is
    /// another row.
    pub(crate) fn decide(&mut self, message: u8, seen: Row, outcome: Outcome) -> bool {
        let row = &mut self.rows[usize::from(message)];
        let there = match seen {
            Row::Fresh => *row == Row::Fresh,
            _ => matches!(row, Row::Retrying | Row::Held),
        };
        if there {
            *row = match outcome {
                Outcome::Delivered => Row::Gone,
                Outcome::Retry => Row::Retrying,
                Outcome::Hold => Row::Held,
            };
        }
        there
    }
}
