/// How many messages may go into one call, for a broker that can't confirm a full batch in time.
///
/// A batch of which nobody knows anything is sent again. If the broker needs longer for all of it than the time-out, that
/// ends in the same way for ever, and each time leaves copies. So what was too much is halved, and comes back a sixteenth
/// with each answer.
#[derive(Debug)]
pub(super) struct BatchLimit(usize);

impl BatchLimit {
    pub(super) const fn none() -> Self {
        Self(usize::MAX)
    }

    pub(super) const fn messages(&self) -> usize {
        self.0
    }

    /// Nobody knows what became of a call with so many messages. Calls that overlapped count as one: they were as large.
    /// A single message that is not answered says nothing about how many would be.
    pub(super) const fn too_much(&mut self, sent: usize) {
        let half = sent / 2;
        if half > 0 && half < self.0 {
            self.0 = half;
        }
    }

    /// The broker has answered a call with so many messages. A smaller one than allowed says nothing about larger ones.
    pub(super) fn answered(&mut self, sent: usize) {
        if sent >= self.0 {
            self.0 = self.0.saturating_add((self.0 / 16).max(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_halved_down_to_single_messages_and_no_further() {
        let mut limit = BatchLimit::none();
        for (sent, left) in [(500, 250), (500, 250), (250, 125), (3, 1), (1, 1)] {
            limit.too_much(sent);
            assert_eq!(limit.messages(), left, "after {sent}");
        }
    }

    #[test]
    fn it_comes_back_with_answers_to_calls_that_used_all_of_it() {
        let mut limit = BatchLimit::none();
        limit.too_much(4);
        limit.answered(1);
        assert_eq!(limit.messages(), 2);
        let calls = std::iter::from_fn(|| {
            limit.answered(limit.messages());
            (limit.messages() < 1_000).then_some(())
        });
        assert_eq!(calls.count(), 90);
    }
}
