use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;

use super::producers::Commit;
use super::stamped::Arrival;

/// What was measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figures {
    /// Commits per second.
    pub(super) rate: u32,
    /// From the end of the commit.
    pub(super) from_commit: Percentiles,
    /// From the time at which it was due: with what the producer and the database took.
    pub(super) from_schedule: Percentiles,
    /// What the relay took of a core.
    pub(super) cores: f64,
}

/// In milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Percentiles {
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) longest: f64,
}

/// Each message's time from its commit, and from when that was due, of those from `warm` on.
///
/// A message may be published before its writer has heard of its own commit, because another one's hint was early
/// enough for both. That counts as no time at all.
pub(super) fn percentiles(
    commits: &[Commit],
    arrivals: &[Arrival],
    warm: u32,
) -> Result<(Percentiles, Percentiles)> {
    let mut first = vec![None; commits.len()];
    for arrival in arrivals {
        let place = usize::try_from(arrival.number).ok().and_then(|number| first.get_mut(number));
        let at = place.with_context(|| format!("nobody wrote message {}", arrival.number))?;
        *at = Some(at.map_or(arrival.at, |at: i64| at.min(arrival.at)));
    }
    // Up to a minute, to three digits.
    let histogram = || Histogram::<u64>::new_with_bounds(1_000, 60_000_000_000, 3);
    let (mut from_commit, mut from_schedule) = (histogram()?, histogram()?);
    for (commit, at) in commits.iter().zip(first).filter(|(commit, _)| commit.number >= warm) {
        let at = at.with_context(|| format!("message {} was not published", commit.number))?;
        from_commit.saturating_record(u64::try_from(at - commit.committed).unwrap_or(0));
        from_schedule.saturating_record(u64::try_from(at - commit.due).unwrap_or(0));
    }
    ensure!(!from_commit.is_empty(), "nothing was measured");
    Ok((Percentiles::of(&from_commit), Percentiles::of(&from_schedule)))
}

impl Percentiles {
    fn of(histogram: &Histogram<u64>) -> Self {
        let ms = |nanos: u64| nanos as f64 / 1e6;
        Self {
            p50: ms(histogram.value_at_quantile(0.5)),
            p99: ms(histogram.value_at_quantile(0.99)),
            longest: ms(histogram.max()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    fn commits(count: u32) -> Vec<Commit> {
        let commit = |number| Commit { number, due: 0, committed: MS };
        (0..count).map(commit).collect()
    }

    #[test]
    fn a_slow_one_is_seen() {
        let mut arrivals: Vec<_> = (0..100).map(|number| Arrival { number, at: 2 * MS }).collect();
        arrivals[98].at = 51 * MS;
        arrivals[99].at = 51 * MS;
        let (commit, schedule) = percentiles(&commits(100), &arrivals, 0).unwrap();
        for (seen, expected) in
            [commit.p50, commit.p99, commit.longest, schedule.p50].into_iter().zip([1.0, 50.0, 50.0, 2.0])
        {
            assert!((seen / expected - 1.0).abs() < 0.01, "{seen} and not {expected}");
        }
    }

    #[test]
    fn the_first_delivery_counts_and_none_may_be_missing() {
        let twice = [Arrival { number: 0, at: 9 * MS }, Arrival { number: 0, at: 2 * MS }];
        let (commit, _) = percentiles(&commits(1), &twice, 0).unwrap();
        assert!((commit.longest - 1.0).abs() < 0.01, "{commit:?}");
        let error = percentiles(&commits(2), &twice, 0).unwrap_err();
        assert_eq!(error.to_string(), "message 1 was not published");
    }
}
