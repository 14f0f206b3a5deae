//! A strict reader of JSON (RFC 8259) that makes nothing: it says where each value stands and what it is.
//!
//! It is stricter than it must be. What it refuses, the pure code reads; what it accepts, every other reader accepts.

/// Nothing deeper is read here.
const MAX_DEPTH: u32 = 64;
/// So many digits a fraction may have before and behind its point.
const MAX_DIGITS: usize = 18;

/// The record is left to the pure code.
pub struct Left;
pub type Read<T> = Result<T, Left>;

/// What a value is, and what it takes to make it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// Text without escapes; its span is what stands between the quotes.
    Text = 0,
    /// Text with escapes.
    Escaped = 1,
    /// A whole number, `true` or `false`: what is written is its text.
    Word = 2,
    Null = 3,
    /// A list, an object or a fraction.
    Other = 4,
    /// A list of texts that are one, line by line.
    Lines = 5,
}

impl Kind {
    pub fn of(number: u32) -> Kind {
        match number {
            0 => Kind::Text,
            1 => Kind::Escaped,
            2 => Kind::Word,
            3 => Kind::Null,
            5 => Kind::Lines,
            _ => Kind::Other,
        }
    }
}

/// Where a value stands in the block.
#[derive(Clone, Copy)]
pub struct Span {
    pub start: usize,
    pub stop: usize,
    pub kind: Kind,
}

impl Span {
    pub fn is_text(self) -> bool {
        matches!(self.kind, Kind::Text | Kind::Escaped)
    }

    /// The value as it is written, with the quotes of a text.
    pub fn written(self, data: &[u8]) -> &[u8] {
        let quote = usize::from(self.is_text());
        &data[self.start - quote..self.stop + quote]
    }
}

/// A place in one record, which must be UTF-8.
pub struct Cursor<'a> {
    pub data: &'a [u8],
    pub at: usize,
}

impl<'a> Cursor<'a> {
    /// `data` ends where the record ends.
    pub fn new(data: &'a [u8], at: usize) -> Self {
        Cursor { data, at }
    }

    fn peek(&self) -> Read<u8> {
        self.data.get(self.at).copied().ok_or(Left)
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.data.get(self.at) {
            self.at += 1;
        }
    }

    /// Takes one byte, which must be this one, and the space before it.
    pub fn expect(&mut self, byte: u8) -> Read<()> {
        self.space();
        if self.peek()? != byte {
            return Err(Left);
        }
        self.at += 1;
        Ok(())
    }

    /// The first byte of what comes next.
    pub fn next(&mut self) -> Read<u8> {
        self.space();
        self.peek()
    }

    /// The record must end here.
    pub fn end(&mut self) -> Read<()> {
        self.space();
        if self.at == self.data.len() {
            Ok(())
        } else {
            Err(Left)
        }
    }

    /// Calls `member` with each name of an object; it must take the value. A name with escapes is left.
    pub fn members(&mut self, mut member: impl FnMut(&mut Self, &'a [u8]) -> Read<()>) -> Read<()> {
        self.expect(b'{')?;
        if self.next()? == b'}' {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.space();
            let name = self.text()?;
            if name.kind != Kind::Text {
                return Err(Left);
            }
            self.expect(b':')?;
            let data = self.data;
            member(self, &data[name.start..name.stop])?;
            if !self.goes_on(b'}')? {
                return Ok(());
            }
        }
    }

    /// Behind a member or element: whether another one comes.
    fn goes_on(&mut self, close: u8) -> Read<bool> {
        let byte = self.next()?;
        self.at += 1;
        match byte {
            b',' => Ok(true),
            _ if byte == close => Ok(false),
            _ => Err(Left),
        }
    }

    /// Any value.
    pub fn value(&mut self) -> Read<Span> {
        self.value_in(0)
    }

    fn value_in(&mut self, depth: u32) -> Read<Span> {
        let byte = self.next()?;
        let start = self.at;
        let kind = match byte {
            b'"' => return self.text(),
            b'{' => self.object(depth)?,
            b'[' => self.list(depth)?,
            b't' => self.word(b"true", Kind::Word)?,
            b'f' => self.word(b"false", Kind::Word)?,
            b'n' => self.word(b"null", Kind::Null)?,
            _ => self.number()?,
        };
        Ok(Span { start, stop: self.at, kind })
    }

    fn object(&mut self, depth: u32) -> Read<Kind> {
        if depth == MAX_DEPTH {
            return Err(Left);
        }
        self.at += 1;
        if self.next()? == b'}' {
            self.at += 1;
            return Ok(Kind::Other);
        }
        loop {
            self.space();
            self.text()?;
            self.expect(b':')?;
            self.value_in(depth + 1)?;
            if !self.goes_on(b'}')? {
                return Ok(Kind::Other);
            }
        }
    }

    fn list(&mut self, depth: u32) -> Read<Kind> {
        if depth == MAX_DEPTH {
            return Err(Left);
        }
        self.elements(|cursor| cursor.value_in(depth + 1).map(|_| ()))?;
        Ok(Kind::Other)
    }

    /// Calls `element` before each element of a list; it must take it.
    pub fn elements(&mut self, mut element: impl FnMut(&mut Self) -> Read<()>) -> Read<()> {
        self.expect(b'[')?;
        if self.next()? == b']' {
            self.at += 1;
            return Ok(());
        }
        loop {
            element(self)?;
            if !self.goes_on(b']')? {
                return Ok(());
            }
        }
    }

    fn word(&mut self, word: &[u8], kind: Kind) -> Read<Kind> {
        if !self.data[self.at..].starts_with(word) {
            return Err(Left);
        }
        self.at += word.len();
        Ok(kind)
    }

    /// Whole numbers of 64 bits and short fractions; what readers take in different ways (exponents, -0, more bits) is
    /// left.
    fn number(&mut self) -> Read<Kind> {
        let start = self.at;
        let is_negative = self.peek()? == b'-';
        self.at += usize::from(is_negative);
        let first = self.peek()?;
        let digits = self.digits()?;
        if first == b'0' && (digits > 1 || is_negative) {
            return Err(Left);
        }
        let whole = &self.data[start..self.at];
        match self.data.get(self.at) {
            Some(b'e' | b'E') => Err(Left),
            Some(b'.') => {
                self.at += 1;
                let is_short = digits <= MAX_DIGITS && self.digits()? <= MAX_DIGITS;
                let has_exponent = matches!(self.data.get(self.at), Some(b'e' | b'E'));
                if is_short && !has_exponent {
                    Ok(Kind::Other)
                } else {
                    Err(Left)
                }
            }
            _ if digits <= MAX_DIGITS || fits_64_bits(whole, is_negative) => Ok(Kind::Word),
            _ => Err(Left),
        }
    }

    fn digits(&mut self) -> Read<usize> {
        let start = self.at;
        while self.data.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at > start {
            Ok(self.at - start)
        } else {
            Err(Left)
        }
    }

    /// A text; the span is what stands between its quotes.
    pub fn text(&mut self) -> Read<Span> {
        if self.peek()? != b'"' {
            return Err(Left);
        }
        let start = self.at + 1;
        let mut at = start;
        let mut kind = Kind::Text;
        loop {
            at += plain(&self.data[at..]);
            match self.data.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok(Span { start, stop: at, kind });
                }
                Some(b'\\') => {
                    kind = Kind::Escaped;
                    at += escape(&self.data[at..])?;
                }
                _ => return Err(Left), // a control character, or no end
            }
        }
    }
}

fn fits_64_bits(digits: &[u8], is_negative: bool) -> bool {
    let text = std::str::from_utf8(digits).unwrap_or("");
    if is_negative {
        text.parse::<i64>().is_ok()
    } else {
        text.parse::<u64>().is_ok()
    }
}

/// How many bytes come before the first quote, backslash or control character, or all.
fn plain(data: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    // The lowest bit that is set tells the first byte that is zero, or less than `n` for bytes below 0x80.
    let less = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word & HIGHS;
    let (chunks, rest) = data.split_at(data.len() & !7);
    for (i, chunk) in chunks.chunks_exact(8).enumerate() {
        let word = u64::from_le_bytes(chunk.try_into().unwrap_or([0; 8]));
        let found = less(word, 0x20) | less(word ^ (ONES * 0x22), 1) | less(word ^ (ONES * 0x5c), 1);
        if found != 0 {
            return i * 8 + (found.trailing_zeros() / 8) as usize;
        }
    }
    let is_special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    chunks.len() + rest.iter().position(is_special).unwrap_or(rest.len())
}

/// The length of the escape at the start of `data`; halves of surrogate pairs are left.
fn escape(data: &[u8]) -> Read<usize> {
    match data.get(1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(2),
        Some(b'u') => unit(data).and_then(char::from_u32).map(|_| 6).ok_or(Left),
        _ => Err(Left),
    }
}

/// The number that `\uXXXX` at the start of `data` says.
fn unit(data: &[u8]) -> Option<u32> {
    let digits = data.get(2..6).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Adds the text of an escaped span to `into`. Returns None for what `text` does not accept.
pub fn unescape(data: &[u8], into: &mut String) -> Option<()> {
    let mut rest = data;
    while let Some(place) = rest.iter().position(|byte| *byte == b'\\') {
        into.push_str(std::str::from_utf8(&rest[..place]).ok()?);
        rest = &rest[place..];
        let length = escape(rest).ok()?;
        into.push(match rest[1] {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => char::from_u32(unit(rest)?)?,
            other => char::from(other),
        });
        rest = &rest[length..];
    }
    into.push_str(std::str::from_utf8(rest).ok()?);
    Some(())
}

/// Adds the texts of a list to `into`, each on a line of its own and empty ones left out.
pub fn lines(list: &[u8], into: &mut String) -> Option<()> {
    let mut is_first = true;
    let add = |cursor: &mut Cursor<'_>| {
        let span = cursor.value()?;
        if span.start < span.stop {
            if !std::mem::take(&mut is_first) {
                into.push('\n');
            }
            unescape(&list[span.start..span.stop], into).ok_or(Left)?;
        }
        Ok(())
    };
    Cursor::new(list, 0).elements(add).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(text: &str) -> bool {
        let mut cursor = Cursor::new(text.as_bytes(), 0);
        cursor.value().is_ok() && cursor.end().is_ok()
    }

    #[test]
    fn what_every_reader_accepts() {
        for text in [
            "{}",
            "[1, -2 ,\t3.5]",
            r#"{"a":{"b":[null,true,false]},"c":"\u00e9\\\" é"}"#,
            "0",
            "18446744073709551615",
            "-9223372036854775808",
            "0.25",
        ] {
            assert!(accepts(text), "{text}");
        }
    }

    #[test]
    fn what_is_no_json_or_read_in_different_ways() {
        for text in [
            "",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "{a:1}",
            "01",
            "-0",
            "1.",
            ".5",
            "1e5",
            "1.5e5",
            "18446744073709551616",
            "-9223372036854775809",
            "NaN",
            "tru",
            "\"\n\"",
            "\"\\x\"",
            "\"\\ud800\"",
            "\"\\u12g4\"",
            "\"abc",
            "{} {}",
            "+1",
            "'a'",
            "\"\\",
            "\"\\u12",
        ] {
            assert!(!accepts(text), "{text}");
        }
        assert!(!accepts(&"[".repeat(100_000)));
        assert!(!accepts(&format!("{}{}", "[".repeat(66), "]".repeat(66))));
    }

    #[test]
    fn the_first_special_byte_is_found_wherever_it_stands() {
        for special in [b'"', b'\\', 0x1f, 0, b'\n'] {
            for length in 0..40 {
                for place in 0..length {
                    let mut data = vec![0x80 | 0x20u8; length];
                    data[place] = special;
                    data[place + 1..].fill(b'"');
                    assert_eq!(plain(&data), place);
                }
                assert_eq!(plain(&vec![b' '; length]), length);
            }
        }
    }

    #[test]
    fn escapes_become_what_they_say() {
        let mut text = String::new();
        assert!(unescape(br#"C:\\a\u00e9\n\"\/"#, &mut text).is_some());
        assert_eq!(text, "C:\\aé\n\"/");
        text.clear();
        assert!(unescape(br"\ud800", &mut text).is_none());
    }

    #[test]
    fn a_list_becomes_lines() {
        let mut text = String::new();
        assert!(lines(br#"["a", "", 5 ,"b\n"]"#, &mut text).is_some());
        assert_eq!(text, "a\n5\nb\n");
    }
}
