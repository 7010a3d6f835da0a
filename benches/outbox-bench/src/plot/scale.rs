/// An axis: where a value lies, from 0 to 1, and where it is labelled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Scale {
    /// From 0 to a round number above all values.
    pub(super) fn from_zero(values: impl Iterator<Item = f64>) -> Self {
        let most = values.fold(0.0, f64::max).max(f64::MIN_POSITIVE);
        let step = step(most);
        Self { low: 0.0, high: (most / step).ceil() * step, logarithmic: false }
    }

    /// From the least value to the greatest.
    pub(super) fn between(values: impl Iterator<Item = f64> + Clone, logarithmic: bool) -> Self {
        let low = values.clone().fold(f64::MAX, f64::min);
        let high = values.fold(f64::MIN, f64::max);
        Self { low, high: if high > low { high } else { low + 1.0 }, logarithmic }
    }

    pub(super) fn place(&self, value: f64) -> f64 {
        if self.logarithmic {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }

    /// Round numbers that are not too many.
    pub(super) fn marks(&self) -> Vec<f64> {
        let step = step(self.high);
        let mut marks = Vec::new();
        let mut mark = self.low;
        while mark <= self.high + step / 100.0 {
            marks.push(mark);
            mark += step;
        }
        marks
    }
}

/// 1, 2 or 5 times a power of ten, about a fifth of this.
fn step(most: f64) -> f64 {
    let power = 10_f64.powf((most / 5.0).log10().floor());
    let factor = most / 5.0 / power;
    power * [1.0, 2.0, 5.0].into_iter().find(|round| *round >= factor).unwrap_or(10.0)
}

/// A number for an axis: short.
pub(super) fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => trimmed(value / 1e6) + "M",
        size if size >= 1e3 => trimmed(value / 1e3) + "k",
        _ => trimmed(value),
    }
}

fn trimmed(value: f64) -> String {
    format!("{value:.2}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marks_are_round_and_span_the_values() {
        let scale = Scale::from_zero([93_000.0, 412_000.0].into_iter());
        assert_eq!(scale.marks(), [0.0, 100_000.0, 200_000.0, 300_000.0, 400_000.0, 500_000.0]);
        assert!((scale.place(250_000.0) - 0.5).abs() < 1e-9);
        assert_eq!(short(500_000.0), "500k");
        assert_eq!(short(2.5), "2.5");
    }

    #[test]
    fn equal_factors_are_equal_steps() {
        let scale = Scale::between([1e4, 1e6].into_iter(), true);
        assert!((scale.place(1e5) - 0.5).abs() < 1e-9);
        assert!((scale.place(1e4), scale.place(1e6)) == (0.0, 1.0));
    }
}
