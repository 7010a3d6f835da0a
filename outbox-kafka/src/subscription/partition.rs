use std::collections::VecDeque;

/// The offsets of a partition that were read and not yet settled for good.
///
/// Kafka remembers one offset per partition, "up to here": a message that was settled before an earlier one is kept in
/// mind until that one is settled too.
#[derive(Debug)]
pub(crate) struct Partition {
    /// Which assignment it belongs to: a partition may leave and come back.
    pub(crate) epoch: u64,
    /// In the order of their reading, and of their offsets.
    open: VecDeque<Open>,
    /// How many were read.
    reads: u64,
    position: Option<i64>,
}

#[derive(Debug)]
struct Open {
    read: u64,
    offset: i64,
    settled: bool,
}

impl Partition {
    pub(crate) const fn new(epoch: u64) -> Self {
        Self { epoch, open: VecDeque::new(), reads: 0, position: None }
    }

    /// Takes an offset in, and returns what it is settled by: an offset may be read twice, and need not be the same
    /// record then. `true` if the position has gone back by it.
    pub(crate) fn read(&mut self, offset: i64) -> (u64, bool) {
        let back = self.open.back().is_some_and(|last| last.offset >= offset)
            || self.position.is_some_and(|position| position > offset);
        if back {
            self.go_back(offset);
        }
        self.reads += 1;
        self.open.push_back(Open { read: self.reads, offset, settled: false });
        (self.reads, back)
    }

    /// A log that was cut off or made anew is read again from a lower offset: what was read beyond it counts no more.
    fn go_back(&mut self, offset: i64) {
        while self.open.back().is_some_and(|last| last.offset >= offset) {
            self.open.pop_back();
        }
        self.position = Some(self.open.front().map_or(offset, |open| open.offset));
    }

    /// Marks what was read as settled; `true` if the position has moved by it.
    pub(crate) fn settle(&mut self, read: u64) -> bool {
        if let Ok(place) = self.open.binary_search_by_key(&read, |open| open.read) {
            self.open[place].settled = true;
        }
        let mut moved = false;
        while let Some(Open { offset, settled: true, .. }) = self.open.front() {
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

    /// Reads offsets that follow each other.
    fn read<const N: usize>(partition: &mut Partition, offsets: [i64; N]) -> [u64; N] {
        offsets.map(|offset| {
            let (read, back) = partition.read(offset);
            assert!(!back);
            read
        })
    }

    #[test]
    fn the_position_moves_over_what_is_settled_without_a_gap() {
        let mut partition = Partition::new(1);
        let [five, six, nine, ten] = read(&mut partition, [5, 6, 9, 10]);
        assert!(!partition.settle(nine));
        assert_eq!(partition.position(), None);
        assert!(partition.settle(five));
        assert_eq!(partition.position(), Some(6));
        assert!(partition.settle(six));
        assert_eq!(partition.position(), Some(10));
        // Twice is once, and what was never read is nothing.
        assert!(!partition.settle(six) && !partition.settle(77));
        assert!(partition.settle(ten));
        assert_eq!(partition.position(), Some(11));
    }

    #[test]
    fn the_position_follows_a_log_that_begins_anew() {
        let mut partition = Partition::new(1);
        let [first, second, third] = read(&mut partition, [100, 101, 102]);
        assert!(partition.settle(first));
        let (again, back) = partition.read(0);
        assert!(back);
        let [next] = read(&mut partition, [1]);
        assert_eq!(partition.position(), Some(0), "nothing of the new log is settled");
        // What is out from before is another record, even if its offset comes again.
        let [last] = read(&mut partition, [101]);
        assert!(!partition.settle(second) && !partition.settle(third));
        assert!(partition.settle(again) && partition.settle(next));
        assert_eq!(partition.position(), Some(2));
        assert!(partition.settle(last));
        assert_eq!(partition.position(), Some(102));
        assert!(partition.open.is_empty());
        // Also if nothing is out.
        assert!(partition.read(50).1);
        assert_eq!(partition.position(), Some(50));
    }

    #[test]
    fn what_is_open_before_a_cut_is_waited_for() {
        let mut partition = Partition::new(1);
        let [kept, cut] = read(&mut partition, [7, 8]);
        let (again, back) = partition.read(8);
        assert!(back);
        assert_eq!(partition.position(), Some(7));
        assert!(!partition.settle(cut) && !partition.settle(again));
        assert!(partition.settle(kept));
        assert_eq!(partition.position(), Some(9));
    }
}
