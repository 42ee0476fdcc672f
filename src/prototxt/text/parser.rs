//! Builds nodes from tokens. Open messages and lists are kept in a `Vec`, so that deeply nested input cannot overflow the
//! thread's stack.

use super::lexer::{Lexer, SyntaxError, Token, TokenKind, shortened};
use super::node::{Kind, Node, Span};

/// An open message or list.
struct Frame {
    /// The index of its node.
    node: usize,
    /// The byte that closes it.
    closing: u8,
    is_list: bool,
}

/// The nodes of `source` in the order of their text; the first is the whole document.
pub(super) fn parse(source: &[u8]) -> Result<Vec<Node>, SyntaxError> {
    let mut lexer = Lexer::new(source);
    let token = lexer.next()?;
    let mut parser = Parser { source, lexer, token, previous: token.start, nodes: Vec::new(), open: Vec::new() };
    parser.previous = 0;
    parser.document()?;
    Ok(parser.nodes)
}

struct Parser<'a> {
    source: &'a [u8],
    lexer: Lexer<'a>,
    /// The current token.
    token: Token,
    /// Where the token before the current one ends.
    previous: usize,
    nodes: Vec<Node>,
    /// The open messages and lists, outermost first.
    open: Vec<Frame>,
}

impl Parser<'_> {
    fn document(&mut self) -> Result<(), SyntaxError> {
        let whole = Span::new(0, self.source.len());
        self.nodes.push(Node {
            kind: Kind::Message,
            gap: 0,
            name: Span::new(0, 0),
            value: whole,
            end: whole.end,
            last: 0,
        });
        loop {
            match self.open.last() {
                None if self.token.kind == TokenKind::End => break,
                Some(frame) if self.token.kind == TokenKind::Symbol(frame.closing) => self.close()?,
                Some(frame) if frame.is_list => self.item()?,
                _ => self.field()?,
            }
        }
        self.nodes[0].last = self.nodes.len() as u32;
        Ok(())
    }

    fn advance(&mut self) -> Result<Token, SyntaxError> {
        let token = self.token;
        self.previous = token.end;
        self.token = self.lexer.next()?;
        Ok(token)
    }

    fn at_symbol(&self, symbol: u8) -> bool {
        self.token.kind == TokenKind::Symbol(symbol)
    }

    fn field(&mut self) -> Result<(), SyntaxError> {
        let gap = self.previous;
        let start = self.token.start;
        match self.token.kind {
            TokenKind::Identifier => self.advance()?,
            // Protobuf prints an unknown field with its number as its name.
            TokenKind::Number if self.text(self.token).iter().all(u8::is_ascii_digit) => self.advance()?,
            TokenKind::Symbol(b'[') => self.bracketed_name()?,
            _ => return Err(self.expected(&self.field_or_end())),
        };
        let name = Span::new(start, self.previous);
        let colon = self.at_symbol(b':');
        if colon {
            self.advance()?;
        } else if !matches!(self.token.kind, TokenKind::Symbol(b'{' | b'<' | b'[')) {
            let name = String::from_utf8_lossy(&self.source[name.range()]);
            return Err(self.expected(&format!("`:` or `{{` after the field name `{}`", shortened(&name))));
        }
        self.nodes.push(Node::pending(gap, name));
        self.value(true)
    }

    /// `[package.extension]` or `[domain/package.Type]`.
    fn bracketed_name(&mut self) -> Result<Token, SyntaxError> {
        self.advance()?;
        loop {
            match self.token.kind {
                TokenKind::Identifier | TokenKind::Number | TokenKind::Symbol(b'.' | b'/' | b'-') => self.advance()?,
                TokenKind::Symbol(b']') => return self.advance(),
                _ => return Err(self.expected("an extension's name and `]`")),
            };
        }
    }

    /// Reads the value of the last node. A message or list is left open.
    fn value(&mut self, list_may_follow: bool) -> Result<(), SyntaxError> {
        let node = self.nodes.len() - 1;
        let start = self.token.start;
        let kind = match self.token.kind {
            TokenKind::Symbol(open @ (b'{' | b'<')) => {
                let closing = if open == b'{' { b'}' } else { b'>' };
                return self.open(node, Kind::Message, closing);
            }
            TokenKind::Symbol(b'[') if list_may_follow => return self.open(node, Kind::List, b']'),
            TokenKind::String => {
                while self.token.kind == TokenKind::String {
                    self.advance()?;
                }
                Kind::String
            }
            TokenKind::Symbol(b'-') => {
                self.advance()?;
                match self.token.kind {
                    TokenKind::Number | TokenKind::Identifier => self.advance()?,
                    _ => return Err(self.expected("a number after `-`")),
                };
                Kind::Number
            }
            TokenKind::Number => {
                self.advance()?;
                Kind::Number
            }
            TokenKind::Identifier => {
                self.advance()?;
                Kind::Identifier
            }
            _ => return Err(self.expected("a value: a string, a number, a name, `{` or `[`")),
        };
        self.nodes[node].kind = kind;
        self.nodes[node].value = Span::new(start, self.previous);
        self.finish(node)
    }

    fn open(&mut self, node: usize, kind: Kind, closing: u8) -> Result<(), SyntaxError> {
        self.nodes[node].kind = kind;
        self.nodes[node].value = Span::new(self.token.start, self.token.end);
        self.open.push(Frame { node, closing, is_list: kind == Kind::List });
        self.advance()?;
        Ok(())
    }

    fn close(&mut self) -> Result<(), SyntaxError> {
        let token = self.advance()?;
        if let Some(frame) = self.open.pop() {
            self.nodes[frame.node].value.end = token.end as u32;
            self.finish(frame.node)?;
        }
        Ok(())
    }

    /// Ends a node: takes the separator behind it, which an item of a list needs and a field may have.
    fn finish(&mut self, node: usize) -> Result<(), SyntaxError> {
        self.nodes[node].last = self.nodes.len() as u32;
        let in_list = self.open.last().is_some_and(|frame| frame.is_list);
        if in_list && !self.at_symbol(b',') && !self.at_symbol(b']') {
            return Err(self.expected("`,` or `]` in the list"));
        }
        if self.at_symbol(b',') || (self.at_symbol(b';') && !in_list) {
            self.advance()?;
            if in_list && self.at_symbol(b']') {
                return Err(self.expected("a value after `,`"));
            }
        }
        self.nodes[node].end = self.previous as u32;
        Ok(())
    }

    fn item(&mut self) -> Result<(), SyntaxError> {
        let gap = self.previous;
        if self.token.kind == TokenKind::End {
            return Err(self.expected("`]`"));
        }
        let start = self.token.start;
        self.nodes.push(Node::pending(gap, Span::new(start, start)));
        self.value(false)
    }

    fn text(&self, token: Token) -> &[u8] {
        &self.source[token.start..token.end]
    }

    fn field_or_end(&self) -> String {
        match self.open.last() {
            None => "a field name".into(),
            Some(frame) => format!("a field name or `{}`", char::from(frame.closing)),
        }
    }

    fn expected(&self, what: &str) -> SyntaxError {
        let mut message = format!("expected {what}, found ");
        match self.token.kind {
            TokenKind::End => message.push_str("the end of the file"),
            _ => message.push_str(&format!("`{}`", shortened(&String::from_utf8_lossy(self.text(self.token))))),
        }
        let open = self.open.last().map(|frame| self.nodes[frame.node]);
        if let (TokenKind::End, Some(open)) = (self.token.kind, open) {
            let line = 1 + self.source[..open.value.start as usize].iter().filter(|&&b| b == b'\n').count();
            let name = String::from_utf8_lossy(&self.source[open.name.range()]);
            message.push_str(&format!(": what `{}` opens on line {line} is not closed", shortened(&name)));
        }
        (self.token.start, message)
    }
}
