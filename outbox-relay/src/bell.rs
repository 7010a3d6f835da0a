use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;

/// What a hint says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hint(u8);

impl Hint {
    /// Something was committed, and whoever commits the next one will say so.
    pub(crate) const COMMITTED: Self = Self(1);
    /// Something may be committed soon, and nobody will say when.
    pub(crate) const EXPECTED: Self = Self(2);
    /// Both: from another process there is one hint for several commits, and it may be given before the commit, too.
    pub(crate) const FROM_AFAR: Self = Self(3);

    /// Whether something was committed, as far as anybody knows.
    pub(crate) const fn committed(self) -> bool {
        self.0 & Self::COMMITTED.0 != 0
    }

    /// Whether a commit may come that nobody announces.
    pub(crate) const fn expected(self) -> bool {
        self.0 & Self::EXPECTED.0 != 0
    }
}

/// Where a destination hears of hints. Those that come before it listens become one.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: Notify,
    hints: AtomicU8,
}

impl Bell {
    pub(crate) fn ring(&self, Hint(bit): Hint) {
        // Before the notification: whoever it wakes asks what it was.
        self.hints.fetch_or(bit, Ordering::AcqRel);
        self.rung.notify_one();
    }

    /// All hints since the last time.
    ///
    /// # Cancel safety
    ///
    /// Yes: a hint that is not returned is returned by the next call.
    pub(crate) async fn heard(&self) -> Hint {
        self.rung.notified().await;
        Hint(self.hints.swap(0, Ordering::AcqRel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hints_that_nobody_waited_for_become_one() {
        let bell = Bell::default();
        bell.ring(Hint::EXPECTED);
        bell.ring(Hint::COMMITTED);
        let heard = bell.heard().await;
        assert!(heard.expected() && heard.committed(), "{heard:?}");
        bell.ring(Hint::EXPECTED);
        let heard = bell.heard().await;
        assert!(heard.expected() && !heard.committed(), "{heard:?}");
    }
}
