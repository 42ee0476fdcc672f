//! Cuts bytes into tokens, by the rules of protobuf's own tokeniser.

/// What a token is. Its text is a range of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    Identifier,
    Number,
    String,
    Symbol(u8),
    End,
}

/// A token: its kind and its bytes in the source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub kind: TokenKind,
    pub start: usize,
    pub end: usize,
}

/// The byte at which the text is wrong, and a message that says what was expected there.
pub(super) type SyntaxError = (usize, String);

/// The tokens of a source, one at a time.
pub(super) struct Lexer<'a> {
    source: &'a [u8],
    at: usize,
}

/// The UTF-8 byte order mark that some Windows editors write at the start of a file.
pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";

impl<'a> Lexer<'a> {
    pub(super) fn new(source: &'a [u8]) -> Self {
        Lexer { source, at: if source.starts_with(BOM) { BOM.len() } else { 0 } }
    }

    pub(super) fn next(&mut self) -> Result<Token, SyntaxError> {
        self.skip_trivia();
        let start = self.at;
        let Some(&first) = self.source.get(start) else {
            return Ok(Token { kind: TokenKind::End, start, end: start });
        };
        let kind = match first {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                self.take_while(|b| b.is_ascii_alphanumeric() || b == b'_');
                TokenKind::Identifier
            }
            b'0'..=b'9' => self.number()?,
            b'.' if self.source.get(start + 1).is_some_and(u8::is_ascii_digit) => self.number()?,
            b'"' | b'\'' => self.string(first)?,
            b'{' | b'}' | b'<' | b'>' | b'[' | b']' | b':' | b';' | b',' | b'-' | b'.' | b'/' => {
                self.at += 1;
                TokenKind::Symbol(first)
            }
            _ => return Err((start, unexpected(self.source, start))),
        };
        Ok(Token { kind, start, end: self.at })
    }

    fn skip_trivia(&mut self) {
        loop {
            self.take_while(is_space);
            if self.source.get(self.at) != Some(&b'#') {
                return;
            }
            self.take_while(|b| b != b'\n');
        }
    }

    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) {
        let rest = &self.source[self.at..];
        self.at += rest.iter().position(|&b| !wanted(b)).unwrap_or(rest.len());
    }

    fn number(&mut self) -> Result<TokenKind, SyntaxError> {
        let start = self.at;
        let hex = matches!(self.source[start..], [b'0', b'x' | b'X', ..]);
        loop {
            self.take_while(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.');
            let signed_exponent = !hex
                && matches!(self.source[self.at - 1], b'e' | b'E')
                && matches!(self.source.get(self.at), Some(b'+' | b'-'));
            if !signed_exponent {
                break;
            }
            self.at += 1;
        }
        let text = &self.source[start..self.at];
        if is_number(text) {
            return Ok(TokenKind::Number);
        }
        let text = String::from_utf8_lossy(text);
        Err((start, format!("expected a number, found `{}`", shortened(&text))))
    }

    fn string(&mut self, quote: u8) -> Result<TokenKind, SyntaxError> {
        let start = self.at;
        self.at += 1;
        loop {
            self.take_while(|b| b != quote && b != b'\\' && b != b'\n' && b != 0);
            match self.source.get(self.at) {
                Some(&b) if b == quote => {
                    self.at += 1;
                    return Ok(TokenKind::String);
                }
                Some(b'\\') => self.escape()?,
                Some(0) => return Err((self.at, unexpected(self.source, self.at))),
                _ => {
                    let quote = char::from(quote);
                    return Err((start, format!("expected {quote} before the end of the line to close this string")));
                }
            }
        }
    }

    /// Checks the escape at the cursor. [`super::literal::decode`] reads its value.
    fn escape(&mut self) -> Result<(), SyntaxError> {
        let start = self.at;
        let digits = |from: usize, wanted: fn(&u8) -> bool, most: usize| {
            self.source[from.min(self.source.len())..].iter().take(most).take_while(|b| wanted(b)).count()
        };
        let length = match self.source.get(start + 1) {
            Some(b'n' | b'r' | b't' | b'a' | b'b' | b'f' | b'v' | b'\\' | b'\'' | b'"' | b'?') => Some(2),
            Some(b'0'..=b'7') => Some(2),
            Some(b'x' | b'X') if digits(start + 2, u8::is_ascii_hexdigit, 1) == 1 => Some(2),
            Some(b'u') if digits(start + 2, u8::is_ascii_hexdigit, 4) == 4 => Some(6),
            Some(b'U') if digits(start + 2, u8::is_ascii_hexdigit, 8) == 8 => Some(10),
            _ => None,
        };
        match length {
            Some(length) => {
                self.at = start + length;
                Ok(())
            }
            None => {
                Err((start, "expected an escape such as \\n, \\\", \\\\, \\x41 or \\101 after the backslash".into()))
            }
        }
    }
}

/// Whether a byte separates tokens.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c)
}

/// A text cut to a length that a message can show.
pub(super) fn shortened(text: &str) -> String {
    let mut short: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(40).collect();
    if text.chars().nth(40).is_some() {
        short.push('…');
    }
    short
}

fn unexpected(source: &[u8], at: usize) -> String {
    match source[at] {
        b'/' => "comments begin with #, not with /".into(),
        byte if byte.is_ascii_graphic() => format!("a character that has no place here: `{}`", char::from(byte)),
        byte if byte >= 0x80 => "a character that has no place outside strings and comments".into(),
        byte => format!("a control character (byte {byte:#04x}) that has no place in a text"),
    }
}

/// Decimal, octal (`017`), hex (`0x1f`), or floating (`1.`, `.5`, `1e-3`, `2.5f`).
fn is_number(text: &[u8]) -> bool {
    match text {
        [b'0', b'x' | b'X', digits @ ..] => !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit),
        [b'0', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
            digits.iter().all(|b| (b'0'..=b'7').contains(b))
        }
        digits if digits.iter().all(u8::is_ascii_digit) => true,
        _ => {
            let text = text.strip_suffix(b"f").or_else(|| text.strip_suffix(b"F")).unwrap_or(text);
            let Ok(text) = std::str::from_utf8(text) else { return false };
            // Rust's floats are written like protobuf's. Rust also parses words such as `inf`, but they do not begin with
            // a digit, so they do not reach this point.
            text.parse::<f64>().is_ok()
        }
    }
}
