//! Tokens to nodes, with a stack of its own: nesting costs heap, not the thread's stack.

use super::document::{Kind, Node, Span};
use super::lexer::{Fault, Kind as Lexeme, Lexer, Token, shortened};

/// An open message or list.
struct Frame {
    node: usize,
    closing: u8,
    is_list: bool,
}

/// The nodes of `source` in the order of their text, the whole document first.
pub(super) fn parse(source: &[u8]) -> Result<Vec<Node>, Fault> {
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
    /// The token at hand, not yet taken.
    token: Token,
    /// Where the token before it ends.
    previous: usize,
    nodes: Vec<Node>,
    open: Vec<Frame>,
}

impl Parser<'_> {
    fn document(&mut self) -> Result<(), Fault> {
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
                None if self.token.kind == Lexeme::End => break,
                Some(frame) if self.token.kind == Lexeme::Symbol(frame.closing) => self.close()?,
                Some(frame) if frame.is_list => self.item()?,
                _ => self.field()?,
            }
        }
        self.nodes[0].last = self.nodes.len() as u32;
        Ok(())
    }

    fn advance(&mut self) -> Result<Token, Fault> {
        let token = self.token;
        self.previous = token.end;
        self.token = self.lexer.next()?;
        Ok(token)
    }

    fn at_symbol(&self, symbol: u8) -> bool {
        self.token.kind == Lexeme::Symbol(symbol)
    }

    fn field(&mut self) -> Result<(), Fault> {
        let gap = self.previous;
        let start = self.token.start;
        match self.token.kind {
            Lexeme::Identifier => self.advance()?,
            // A field known only by its number, as protobuf prints unknown ones.
            Lexeme::Number if self.text(self.token).iter().all(u8::is_ascii_digit) => self.advance()?,
            Lexeme::Symbol(b'[') => self.bracketed_name()?,
            _ => return Err(self.expected(&self.field_or_end())),
        };
        let name = Span::new(start, self.previous);
        let colon = self.at_symbol(b':');
        if colon {
            self.advance()?;
        } else if !matches!(self.token.kind, Lexeme::Symbol(b'{' | b'<' | b'[')) {
            let name = String::from_utf8_lossy(&self.source[name.range()]);
            return Err(self.expected(&format!("`:` or `{{` after the field name `{}`", shortened(&name))));
        }
        self.nodes.push(Node::pending(gap, name));
        self.value(true)
    }

    /// `[package.extension]` or `[domain/package.Type]`.
    fn bracketed_name(&mut self) -> Result<Token, Fault> {
        self.advance()?;
        loop {
            match self.token.kind {
                Lexeme::Identifier | Lexeme::Number | Lexeme::Symbol(b'.' | b'/' | b'-') => self.advance()?,
                Lexeme::Symbol(b']') => return self.advance(),
                _ => return Err(self.expected("an extension's name and `]`")),
            };
        }
    }

    /// Reads the value of the node last pushed; a message or list stays open.
    fn value(&mut self, list_may_follow: bool) -> Result<(), Fault> {
        let node = self.nodes.len() - 1;
        let start = self.token.start;
        let kind = match self.token.kind {
            Lexeme::Symbol(open @ (b'{' | b'<')) => {
                let closing = if open == b'{' { b'}' } else { b'>' };
                return self.open(node, Kind::Message, closing);
            }
            Lexeme::Symbol(b'[') if list_may_follow => return self.open(node, Kind::List, b']'),
            Lexeme::String => {
                while self.token.kind == Lexeme::String {
                    self.advance()?;
                }
                Kind::String
            }
            Lexeme::Symbol(b'-') => {
                self.advance()?;
                match self.token.kind {
                    Lexeme::Number | Lexeme::Identifier => self.advance()?,
                    _ => return Err(self.expected("a number after `-`")),
                };
                Kind::Number
            }
            Lexeme::Number => {
                self.advance()?;
                Kind::Number
            }
            Lexeme::Identifier => {
                self.advance()?;
                Kind::Identifier
            }
            _ => return Err(self.expected("a value: a string, a number, a name, `{` or `[`")),
        };
        self.nodes[node].kind = kind;
        self.nodes[node].value = Span::new(start, self.previous);
        self.finish(node)
    }

    fn open(&mut self, node: usize, kind: Kind, closing: u8) -> Result<(), Fault> {
        self.nodes[node].kind = kind;
        self.nodes[node].value = Span::new(self.token.start, self.token.end);
        self.open.push(Frame { node, closing, is_list: kind == Kind::List });
        self.advance()?;
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fault> {
        let token = self.advance()?;
        if let Some(frame) = self.open.pop() {
            self.nodes[frame.node].value.end = token.end as u32;
            self.finish(frame.node)?;
        }
        Ok(())
    }

    /// The node's text is read: its separator follows, which an item needs and a field may have.
    fn finish(&mut self, node: usize) -> Result<(), Fault> {
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

    fn item(&mut self) -> Result<(), Fault> {
        let gap = self.previous;
        if self.token.kind == Lexeme::End {
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

    fn expected(&self, what: &str) -> Fault {
        let mut message = format!("expected {what}, found ");
        match self.token.kind {
            Lexeme::End => message.push_str("the end of the file"),
            _ => message.push_str(&format!("`{}`", shortened(&String::from_utf8_lossy(self.text(self.token))))),
        }
        let open = self.open.last().map(|frame| self.nodes[frame.node]);
        if let (Lexeme::End, Some(open)) = (self.token.kind, open) {
            let line = 1 + self.source[..open.value.start as usize].iter().filter(|&&b| b == b'\n').count();
            let name = String::from_utf8_lossy(&self.source[open.name.range()]);
            message.push_str(&format!(": what `{}` opens on line {line} is not closed", shortened(&name)));
        }
        (self.token.start, message)
    }
}
