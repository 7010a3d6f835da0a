use std::borrow::Cow;

/// Reads the parts of a message or a record from bytes, so that every input is one, and a small change of the bytes is a
/// small change of it. An input that has ended goes on with zeros.
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// The parts of these bytes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether all of it was read.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().map_or((0, self.0), |(first, rest)| (*first, rest));
        self.0 = rest;
        first
    }

    /// Yes for an odd byte.
    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// So many bytes, with zeros where the input is over.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.byte())
    }

    /// A byte that says how many, and these.
    pub fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }

    /// [`Input::bytes`] as a text, and a byte that says how often the text is repeated: long ones are the interesting ones.
    pub fn text(&mut self) -> Cow<'a, str> {
        let text = String::from_utf8_lossy(self.bytes());
        match self.byte() {
            0 => text,
            more => text.repeat(usize::from(more) + 1).into(),
        }
    }

    /// A text, if a flag says so.
    pub fn option(&mut self) -> Option<Cow<'a, str>> {
        self.flag().then(|| self.text())
    }

    /// One of these by its number, or another text.
    pub fn name(&mut self, known: &'static [&'static str]) -> Cow<'a, str> {
        match known.get(usize::from(self.byte())) {
            Some(name) => Cow::Borrowed(*name),
            None => String::from_utf8_lossy(self.bytes()),
        }
    }
}
