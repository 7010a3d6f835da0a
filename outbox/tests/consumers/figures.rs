use std::fmt::Display;

/// A size that the environment may raise or lower.
pub(crate) fn size(variable: &str, default: u32) -> u32 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// Says what was measured, for whoever runs the tests with their output.
#[expect(clippy::print_stderr, reason = "the figures of a run are worth a line")]
pub(crate) fn report(broker: &str, figures: impl Display) {
    eprintln!("{broker}: {figures}");
}
