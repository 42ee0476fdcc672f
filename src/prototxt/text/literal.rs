//! String literals: decoding one, and writing one.

use bstr::BString;

use super::lexer::is_space;

/// The value of one literal, or of several adjacent ones, that the lexer has accepted.
pub(super) fn decode(literals: &[u8]) -> BString {
    let mut value = Vec::with_capacity(literals.len());
    let mut at = 0;
    while let Some(&byte) = literals.get(at) {
        at += 1;
        match byte {
            b'"' | b'\'' => at = decode_one(literals, at, byte, &mut value),
            b'#' => at += literals[at..].iter().position(|&b| b == b'\n').unwrap_or(literals.len() - at),
            _ => debug_assert!(is_space(byte)),
        }
    }
    value.into()
}

/// Decodes one literal from `at`, just behind its opening quote. Returns the position behind its closing quote.
fn decode_one(text: &[u8], mut at: usize, quote: u8, value: &mut Vec<u8>) -> usize {
    while let Some(&byte) = text.get(at) {
        at += 1;
        if byte == quote {
            break;
        }
        if byte != b'\\' {
            value.push(byte);
            continue;
        }
        let Some(&escape) = text.get(at) else { break };
        let number = |from: usize, radix: u32, most: usize| {
            let digits = text[from..].iter().take(most).take_while(|&&b| char::from(b).is_digit(radix)).count();
            let number = text[from..from + digits]
                .iter()
                .fold(0u32, |n, &b| n.wrapping_mul(radix).wrapping_add(char::from(b).to_digit(radix).unwrap_or(0)));
            (number, from + digits)
        };
        at += 1;
        match escape {
            b'0'..=b'7' => {
                let (code, past) = number(at - 1, 8, 3);
                value.push(code as u8);
                at = past;
            }
            b'x' | b'X' => {
                let (code, past) = number(at, 16, 2);
                value.push(code as u8);
                at = past;
            }
            b'u' | b'U' => {
                let (code, past) = number(at, 16, if escape == b'u' { 4 } else { 8 });
                let char = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                value.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                at = past;
            }
            b'n' => value.push(b'\n'),
            b'r' => value.push(b'\r'),
            b't' => value.push(b'\t'),
            b'a' => value.push(0x07),
            b'b' => value.push(0x08),
            b'f' => value.push(0x0c),
            b'v' => value.push(0x0b),
            other => value.push(other),
        }
    }
    at
}

/// A literal with this value, between two `quote` bytes.
pub(crate) fn encode(value: &[u8], quote: u8) -> Vec<u8> {
    let mut text = vec![quote];
    encode_inside(value, quote, &mut text);
    text.push(quote);
    text
}

/// Appends `value` to `text` as it is written inside a literal whose quotes are `quote`.
pub(super) fn encode_inside(value: &[u8], quote: u8, text: &mut Vec<u8>) {
    for &byte in value {
        match byte {
            b'\n' => text.extend_from_slice(b"\\n"),
            b'\r' => text.extend_from_slice(b"\\r"),
            b'\t' => text.extend_from_slice(b"\\t"),
            b'\\' => text.extend_from_slice(b"\\\\"),
            _ if byte == quote => text.extend_from_slice(&[b'\\', byte]),
            // Octal with all three digits, because a hex escape would also take in a digit that follows it.
            0..0x20 | 0x7f => text.extend_from_slice(format!("\\{byte:03o}").as_bytes()),
            _ => text.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read() {
        assert_eq!(decode(br#""a\n\x41\x4142\101\0601\u00e9\'\"""#), b"a\nAA42A01\xc3\xa9'\"".as_slice());
        assert_eq!(decode(b"\"con\" # \"no\"\n 'v1'"), b"conv1".as_slice());
    }

    #[test]
    fn control_characters_and_quotes_are_written_as_escapes() {
        assert_eq!(encode(b"a\n\r\t\\\"'\x01\x1f\x7f1", b'"'), br#""a\n\r\t\\\"'\001\037\1771""#);
        assert_eq!(encode(b"\"'", b'\''), br#"'"\''"#);
    }

    #[test]
    fn what_is_written_is_read() {
        let all: Vec<u8> = (0..=255).collect();
        for quote in [b'"', b'\''] {
            assert_eq!(decode(&encode(&all, quote)), all);
        }
    }
}
