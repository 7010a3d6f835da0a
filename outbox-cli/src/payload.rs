use crate::output::visible;

/// A payload as it can be shown: text if it is UTF-8, else hexadecimal digits.
pub(crate) enum Payload<'a> {
    Text(&'a str),
    Hex(String),
}

impl<'a> Payload<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(_) => Self::Hex(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
        }
    }

    /// For people: at most so many characters, and what was left out.
    pub(crate) fn shown(&self, most: usize) -> String {
        let (text, what) = match self {
            Self::Text(text) => (*text, "characters"),
            Self::Hex(digits) => (digits.as_str(), "hexadecimal digits"),
        };
        let shown = visible(&text.chars().take(most).collect::<String>());
        match text.chars().count().saturating_sub(most) {
            0 => shown,
            left => format!("{shown}\n… {left} more {what}, see --full"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_text_and_the_rest_is_hexadecimal() {
        assert_eq!(Payload::of("añ".as_bytes()).shown(10), "añ");
        assert_eq!(Payload::of(&[0xff, 0x0a]).shown(10), "ff0a");
    }

    #[test]
    fn a_long_payload_is_cut_and_says_so() {
        assert_eq!(Payload::of(b"abcdef").shown(4), "abcd\n… 2 more characters, see --full");
        assert_eq!(Payload::of(b"abcdef").shown(usize::MAX), "abcdef");
        assert_eq!(Payload::of(&[0xff; 3]).shown(2), "ff\n… 4 more hexadecimal digits, see --full");
    }

    #[test]
    fn a_terminal_gets_no_control_characters() {
        assert_eq!(Payload::of(b"a\x1b[2Jb\n").shown(10), "a\u{fffd}[2Jb\n");
    }
}
