use super::Plot;
use super::scale::{Scale, short};
use super::svg::{Anchor, COLOURS, GRID, INK, Svg};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 60.0;
const BOTTOM: f64 = 50.0;

pub(super) fn draw(plot: &Plot) -> String {
    let points = plot.lines.iter().flat_map(|line| &line.points);
    let across = Scale::between(points.clone().map(|(x, _)| *x), plot.logarithmic);
    let up = Scale::from_zero(points.clone().map(|(_, y)| *y));
    let at = |x: f64, y: f64| {
        [
            LEFT + across.place(x) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - up.place(y) * (HEIGHT - TOP - BOTTOM),
        ]
    };

    let mut svg = Svg::new(WIDTH, HEIGHT);
    svg.text([LEFT, 22.0], Anchor::Start, &plot.title);
    for mark in up.marks() {
        let y = HEIGHT - BOTTOM - up.place(mark) * (HEIGHT - TOP - BOTTOM);
        svg.line([LEFT, y], [WIDTH - RIGHT, y], if mark == 0.0 { INK } else { GRID });
        svg.text([LEFT - 6.0, y + 4.0], Anchor::End, &short(mark));
    }
    // Every value that was measured has its label: there are few.
    let mut values: Vec<f64> = points.map(|(x, _)| *x).collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    for value in values {
        let [x, _] = at(value, 0.0);
        svg.text([x, HEIGHT - BOTTOM + 18.0], Anchor::Middle, &short(value));
    }
    svg.text([(LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 12.0], Anchor::Middle, plot.across);
    svg.text([LEFT, TOP - 14.0], Anchor::Start, plot.up);

    let mut right = WIDTH - RIGHT;
    for (line, colour) in plot.lines.iter().zip(COLOURS.into_iter().cycle()) {
        let places: Vec<[f64; 2]> = line.points.iter().map(|(x, y)| at(*x, *y)).collect();
        svg.path(&places, colour);
        places.iter().for_each(|place| svg.dot(*place, colour));
        svg.text([right, TOP - 14.0], Anchor::End, &line.name);
        // Characters are about this wide.
        right -= f64::from(u32::try_from(line.name.len()).unwrap_or(u32::MAX)) * 7.0;
        svg.dot([right - 8.0, TOP - 18.0], colour);
        right -= 30.0;
    }
    svg.finish()
}

#[cfg(test)]
mod tests {
    use super::super::{Line, Plot};

    #[test]
    fn each_line_has_its_points_and_its_name() {
        let line =
            |name: &str, points: &[(f64, f64)]| Line { name: name.to_owned(), points: points.to_vec() };
        let plot = Plot {
            name: "x",
            title: "a < b & c".to_owned(),
            across: "bursts",
            up: "msg/s",
            lines: vec![line("ours", &[(1.0, 10.0), (2.0, 20.0)]), line("raw", &[(1.0, 5.0)])],
            logarithmic: false,
        };
        let svg = plot.svg();
        assert!(svg.contains("a &lt; b &amp; c"), "{svg}");
        assert_eq!(svg.matches("<polyline").count(), 2);
        // Three points, and one for each name.
        assert_eq!(svg.matches("<circle").count(), 5);
        // The highest value stands at the top of the axis and the first at its left end.
        assert!(svg.contains(r#"points="70.0,185.0 620.0,60.0""#), "{svg}");
    }
}
