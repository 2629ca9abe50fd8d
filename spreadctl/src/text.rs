//! What others have sent, as text that is safe to print.

use std::fmt::Write;

/// Returns bytes as text in one line. What is not UTF-8 is escaped as `\xNN`, and so are
/// characters that control a terminal or reorder text; so no message can do either.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || reorders(c) {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            // Writing to a text does not fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Whether a character is invisible and changes the direction or the joining of others.
fn reorders(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Returns a number of things with its noun, `1 member` or `2 members`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_and_the_rest_is_escaped() {
        assert_eq!(printable("grüße, 世界".as_bytes()), "grüße, 世界");
        assert_eq!(printable(b"a\nb\tc\r"), "a\\nb\\tc\\r");
        assert_eq!(printable(b"\x1b[2J\x00\x7f"), "\\u{1b}[2J\\u{0}\\u{7f}");
        assert_eq!(printable(b"\xff\xfe ok"), "\\xff\\xfe ok");
        assert_eq!(printable("\u{202e}abc".as_bytes()), "\\u{202e}abc");
        assert_eq!(printable("\u{9b}2J".as_bytes()), "\\u{9b}2J");
    }

    #[test]
    fn nothing_printable_controls_a_terminal() {
        for first in 0..=255 {
            for second in 0..=255 {
                let text = printable(&[first, second]);
                assert!(!text.chars().any(char::is_control), "{first} {second}");
            }
        }
    }
}
