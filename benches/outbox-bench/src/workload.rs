/// Bytes of a payload: a small event.
pub(crate) const PAYLOAD: usize = 200;

/// Different ordering keys.
pub(crate) const KEYS: u32 = 5_000;

/// Rows per claim.
pub(crate) const BATCH: usize = 1_000;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Workload {
    /// Messages per round.
    pub(crate) messages: u32,
    /// Rounds. The best one counts: whatever else the machine does makes a round slower, never faster.
    pub(crate) rounds: u32,
}

impl Workload {
    pub(crate) const FULL: Self = Self {
        messages: 200_000,
        rounds: 5,
    };
    pub(crate) const QUICK: Self = Self {
        messages: 20_000,
        rounds: 1,
    };

    /// Messages per second.
    pub(crate) fn rate(self, seconds: f64) -> f64 {
        f64::from(self.messages) / seconds
    }
}

/// A payload that does not compress to nothing, the same in every run.
pub(crate) fn payload() -> Vec<u8> {
    let mut state = 0x2545_f491_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    };
    (0..PAYLOAD.div_ceil(4))
        .flat_map(|_| next())
        .take(PAYLOAD)
        .collect()
}
