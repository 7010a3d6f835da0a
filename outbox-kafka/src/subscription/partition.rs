use std::collections::VecDeque;

/// The offsets of a partition that were read and not yet settled for good.
///
/// Kafka remembers one offset per partition, "up to here": a message that was settled before an earlier one is kept in
/// mind until that one is settled too.
#[derive(Debug)]
pub(crate) struct Partition {
    /// Which assignment it belongs to: a partition may leave and come back.
    pub(crate) epoch: u64,
    open: VecDeque<(i64, bool)>,
    position: Option<i64>,
}

impl Partition {
    pub(crate) const fn new(epoch: u64) -> Self {
        Self { epoch, open: VecDeque::new(), position: None }
    }

    pub(crate) fn read(&mut self, offset: i64) {
        self.open.push_back((offset, false));
    }

    /// Marks an offset as settled; `true` if the position has moved by it.
    pub(crate) fn settle(&mut self, offset: i64) -> bool {
        if let Ok(place) = self.open.binary_search_by_key(&offset, |(offset, _)| *offset) {
            self.open[place].1 = true;
        }
        let mut moved = false;
        while let Some((offset, true)) = self.open.front() {
            // The next one to read: there may be a gap behind it, from a transaction or from compaction.
            self.position = Some(offset + 1);
            self.open.pop_front();
            moved = true;
        }
        moved
    }

    /// Where to go on reading after everything that is settled; `None` if nothing was.
    pub(crate) const fn position(&self) -> Option<i64> {
        self.position
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_position_moves_over_what_is_settled_without_a_gap() {
        let mut partition = Partition::new(1);
        for offset in [5, 6, 9, 10] {
            partition.read(offset);
        }
        assert!(!partition.settle(9));
        assert_eq!(partition.position(), None);
        assert!(partition.settle(5));
        assert_eq!(partition.position(), Some(6));
        assert!(partition.settle(6));
        assert_eq!(partition.position(), Some(10));
        // Twice is once, and what was never read is nothing.
        assert!(!partition.settle(6) && !partition.settle(77));
        assert!(partition.settle(10));
        assert_eq!(partition.position(), Some(11));
    }
}
