use super::scale::short;
use super::svg::{Anchor, COLOURS, GRID, INK, Svg};

const WIDTH: f64 = 900.0;
const NAMES: f64 = 560.0;
const ROW: f64 = 18.0;
const TOP: f64 = 50.0;
/// What lies beyond is cut off, and its number says so.
const MOST: f64 = 2.0;

/// A bar for each ratio, with a line at 1.
pub(crate) fn bars(title: &str, ratios: &[(String, f64)]) -> String {
    let count = f64::from(u32::try_from(ratios.len()).unwrap_or(u32::MAX));
    let height = TOP + count * ROW + 20.0;
    let mut svg = Svg::new(WIDTH, height);
    svg.text([10.0, 22.0], Anchor::Start, title);
    let x = |ratio: f64| NAMES + ratio.clamp(0.0, MOST) / MOST * (WIDTH - NAMES - 50.0);
    for mark in [0.0, 0.5, 1.0, 1.5, 2.0] {
        svg.line([x(mark), TOP - 4.0], [x(mark), height - 16.0], if mark == 1.0 { INK } else { GRID });
        svg.text([x(mark), TOP - 10.0], Anchor::Middle, &short(mark));
    }
    let mut y = TOP;
    for (name, ratio) in ratios {
        svg.text([NAMES - 8.0, y + 12.0], Anchor::End, name);
        svg.bar([NAMES, y + 2.0], [x(*ratio) - NAMES, ROW - 5.0], COLOURS[0]);
        svg.text([x(*ratio) + 5.0, y + 12.0], Anchor::Start, &format!("{ratio:.2}"));
        y += ROW;
    }
    svg.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_ratio() {
        let svg = bars("ratios", &[("one".to_owned(), 1.0), ("many".to_owned(), 7.0)]);
        // Half of what there is room for, and all of it.
        assert!(svg.contains(r#"width="145.0" height="13.0""#), "{svg}");
        assert!(svg.contains(r#"width="290.0" height="13.0""#), "{svg}");
        assert!(svg.contains(">7.00<"), "{svg}");
    }
}
