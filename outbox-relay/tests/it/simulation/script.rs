use std::fmt::Debug;
use std::time::Duration;

use super::journal::Journal;

/// What happens in a world, and what always holds in it. All of it is data: the same script is the same world, and one
/// with a step less is a world, too.
#[derive(Debug, Clone)]
pub(super) struct Script<S, E> {
    pub(super) setup: S,
    pub(super) steps: Vec<Step<E>>,
}

#[derive(Debug, Clone)]
pub(super) struct Step<E> {
    pub(super) event: E,
    /// How long nothing else happens then.
    pub(super) pause: Duration,
}

/// A kind of worlds.
pub(super) trait World {
    /// How to call it on the command line.
    const NAME: &'static str;
    /// How everything is from the beginning.
    type Setup: Simpler + Clone + Debug + Send;
    /// What may happen.
    type Event: Simpler + Clone + Debug + Send;

    /// The script of a seed.
    fn imagine(random: &mut fastrand::Rng) -> Script<Self::Setup, Self::Event>;

    /// Plays a script to its end. Returns a number that tells different histories apart, or the promise that was broken.
    fn play(
        script: &Script<Self::Setup, Self::Event>,
        journal: &Journal,
    ) -> impl Future<Output = Result<u64, String>>;
}

/// Something that may be said more simply.
pub(super) trait Simpler: Sized {
    /// Simpler forms of it, the simplest first.
    fn simpler(&self) -> Vec<Self>;
}

/// Keeps what two histories have in common apart from what they have not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fingerprint(u64);

impl Fingerprint {
    pub(super) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(super) fn add(&mut self, number: u64) {
        self.0 = mix(self.0 ^ number);
    }

    pub(super) const fn value(self) -> u64 {
        self.0
    }
}

/// A number from others that looks random: what happens to a message depends on which it is, and not on who asks first.
pub(super) fn chance(temper: u64, id: u128, nth: u32) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "two halves")]
    let (high, low) = ((id >> 64) as u64, id as u64);
    mix(mix(mix(temper ^ high) ^ low) ^ u64::from(nth))
}

/// The finalizer of splitmix64.
const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
