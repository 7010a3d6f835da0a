//! Figures as pictures.

mod bars;
mod lines;
mod scale;
mod svg;

pub(crate) use bars::bars;

/// Lines over one axis.
#[derive(Debug, Clone)]
pub(crate) struct Plot {
    /// Of the file, without its ending.
    pub(crate) name: &'static str,
    pub(crate) title: String,
    /// What the horizontal axis counts.
    pub(crate) across: &'static str,
    /// What the vertical axis counts.
    pub(crate) up: &'static str,
    pub(crate) lines: Vec<Line>,
    /// Whether the horizontal axis has equal steps for equal factors.
    pub(crate) logarithmic: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Plot {
    /// The picture.
    pub(crate) fn svg(&self) -> String {
        lines::draw(self)
    }
}
