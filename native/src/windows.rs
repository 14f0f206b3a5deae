//! Windows events in evtx_dump's JSON: where the members of each stand in a block, which is read once.
//!
//! A record is *taken* when its shape is the usual one; any other is *left* to the pure code
//! (`soc/parsers/decoders/windows.py`, which says what the shapes mean). The memory is at most 8 times the block: 12 bytes
//! for each member, of which each takes 6 bytes of JSON at least, while a vector grows three times that; and bounded tables.

use std::collections::HashMap;

use crate::json::{Cursor, Kind, Left, Read, Span};
use crate::names::{Names, NOTHING};

/// What does not fit beside the kind of a value.
const MAX_LENGTH: usize = 1 << 29;

/// What a name belongs to: a part of the event, or the attributes of an element of the System part.
pub const SYSTEM: u32 = 0;
pub const DATA: u32 = 1;
pub const USER: u32 = 2;
pub const MESSAGE: u32 = 3;
/// The elements of UserData, of which no column is made.
const ELEMENTS: u32 = 4;
pub const ATTRIBUTES: u32 = 5;

/// A value and its name.
#[derive(Clone, Copy)]
pub struct Member {
    pub name: u32,
    start: u32,
    /// The length, and above it the kind.
    pub what: u32,
}

impl Member {
    fn new(name: u32, span: Span) -> Read<Self> {
        let length = span.stop - span.start;
        if length >= MAX_LENGTH {
            return Err(Left);
        }
        Ok(Member { name, start: span.start as u32, what: length as u32 | (span.kind as u32) << 29 })
    }

    pub fn kind(self) -> Kind {
        Kind::of(self.what >> 29)
    }

    pub fn bytes(self, data: &[u8]) -> &[u8] {
        let start = self.start as usize;
        data.get(start..start + (self.what as usize & (MAX_LENGTH - 1))).unwrap_or(b"")
    }
}

/// Where the members of the records of a block stand.
pub struct Scan {
    pub names: Names,
    members: Vec<Member>,
    /// The first member of each record, and one more at the end; a record that is left has none.
    firsts: Vec<u32>,
}

impl Scan {
    /// The members of a record.
    pub fn members(&self, row: u32) -> &[Member] {
        let at = |row: usize| self.firsts.get(row).map_or(0, |first| *first as usize);
        self.members.get(at(row as usize)..at(row as usize + 1)).unwrap_or(&[])
    }
}

struct Reader<'a> {
    scan: Scan,
    row: u32,
    before: u32,
    channel: &'a [u8],
    event_id: &'a [u8],
}

impl<'a> Reader<'a> {
    /// One record. What it adds before it fails must be taken back.
    fn record(&mut self, cursor: &mut Cursor<'a>) -> Read<()> {
        let mut has_event = false;
        cursor.members(|cursor, name| {
            if name != b"Event" {
                return cursor.value().map(|_| ());
            }
            if std::mem::replace(&mut has_event, true) {
                return Err(Left);
            }
            self.event(cursor)
        })?;
        cursor.end()?;
        if has_event && !self.channel.is_empty() && !self.event_id.is_empty() {
            Ok(())
        } else {
            Err(Left)
        }
    }

    fn event(&mut self, cursor: &mut Cursor<'a>) -> Read<()> {
        let mut seen = [false; 4];
        cursor.members(|cursor, name| {
            let part = match name {
                b"System" => SYSTEM,
                b"EventData" => DATA,
                b"UserData" => USER,
                b"RenderingInfo" => MESSAGE,
                _ => return cursor.value().map(|_| ()),
            };
            if std::mem::replace(&mut seen[part as usize], true) {
                return Err(Left);
            }
            match (part, cursor.next()?) {
                (SYSTEM, _) => self.system(cursor),
                (_, b'n') => cursor.value().map(|_| ()),
                (DATA, _) => self.data(cursor),
                (USER, _) => self.user(cursor),
                _ => self.rendering(cursor),
            }
        })
    }

    fn system(&mut self, cursor: &mut Cursor<'a>) -> Read<()> {
        cursor.members(|cursor, name| {
            if name == b"Provider_attributes" {
                return Err(Left);
            }
            let id = self.name(SYSTEM, name)?;
            let span = if cursor.next()? == b'{' { self.element(cursor, id)? } else { cursor.value()? };
            self.add(id, span)?;
            match name {
                b"Channel" if span.is_text() && span.start < span.stop => self.channel = span.written(cursor.data),
                b"Channel" => return Err(Left),
                b"EventID" => self.event_id = span.written(cursor.data),
                _ => {}
            }
            Ok(())
        })
    }

    /// An element of the System part that is an object: its text and its attributes, and nothing else.
    fn element(&mut self, cursor: &mut Cursor<'a>, id: u32) -> Read<Span> {
        let start = cursor.at;
        let (mut has_attributes, mut has_text) = (false, false);
        cursor.members(|cursor, name| match name {
            b"#attributes" if !std::mem::replace(&mut has_attributes, true) => cursor.members(|cursor, name| {
                let attribute = self.name(ATTRIBUTES + id, name)?;
                let span = cursor.value()?;
                self.add(attribute, span)
            }),
            b"#text" if !std::mem::replace(&mut has_text, true) => cursor.value().map(|_| ()),
            _ => Err(Left),
        })?;
        if !has_attributes {
            return Err(Left);
        }
        Ok(Span { start, stop: cursor.at, kind: Kind::Other })
    }

    fn data(&mut self, cursor: &mut Cursor<'a>) -> Read<()> {
        cursor.members(|cursor, name| match name {
            b"Data" => self.unnamed(cursor),
            b"#attributes" => cursor.value().map(|_| ()),
            _ => self.member(cursor, DATA, name),
        })
    }

    /// Data without names, one or a list, perhaps as the text of an element: `param1` and so on, and all as `Data`.
    fn unnamed(&mut self, cursor: &mut Cursor<'a>) -> Read<()> {
        if cursor.next()? != b'{' {
            return self.params(cursor);
        }
        let mut has_text = false;
        cursor.members(|cursor, name| {
            if name != b"#text" {
                return cursor.value().map(|_| ());
            }
            if std::mem::replace(&mut has_text, true) {
                return Err(Left);
            }
            self.params(cursor)
        })?;
        if has_text {
            Ok(())
        } else {
            Err(Left)
        }
    }

    fn params(&mut self, cursor: &mut Cursor<'a>) -> Read<()> {
        let is_list = cursor.next()? == b'[';
        let start = cursor.at;
        let mut count = 0;
        let mut param = |cursor: &mut Cursor<'a>| {
            count += 1;
            let id = self.name(DATA, format!("param{count}").as_bytes())?;
            cursor.next()?;
            let span = cursor.value()?;
            if !matches!(span.kind, Kind::Text | Kind::Escaped | Kind::Word) {
                return Err(Left);
            }
            self.add(id, span).map(|()| span)
        };
        let span = if is_list {
            cursor.elements(|cursor| param(cursor).map(|_| ()))?;
            Span { start, stop: cursor.at, kind: Kind::Lines }
        } else {
            param(cursor)?
        };
        let id = self.name(DATA, b"Data")?;
        self.add(id, span)
    }

    /// The elements below UserData stand for their own members.
    fn user(&mut self, cursor: &mut Cursor<'a>) -> Read<()> {
        cursor.members(|cursor, name| {
            self.name(ELEMENTS, name)?; // once only: the last one would count, as of any names
            if cursor.next()? == b'{' {
                cursor.members(|cursor, name| self.said(cursor, name))
            } else {
                self.said(cursor, name)
            }
        })
    }

    fn said(&mut self, cursor: &mut Cursor<'a>, name: &'a [u8]) -> Read<()> {
        if name.starts_with(b"#") || name.starts_with(b"xmlns") {
            return cursor.value().map(|_| ());
        }
        self.member(cursor, USER, name)
    }

    fn rendering(&mut self, cursor: &mut Cursor<'a>) -> Read<()> {
        cursor.members(|cursor, name| match name {
            b"Message" => self.member(cursor, MESSAGE, name),
            _ => cursor.value().map(|_| ()),
        })
    }

    fn member(&mut self, cursor: &mut Cursor<'a>, part: u32, name: &[u8]) -> Read<()> {
        let id = self.name(part, name)?;
        let span = cursor.value()?;
        self.add(id, span)
    }

    fn name(&mut self, part: u32, name: &[u8]) -> Read<u32> {
        self.before = self.scan.names.take(part, name, self.row, self.before)?;
        Ok(self.before)
    }

    fn add(&mut self, name: u32, span: Span) -> Read<()> {
        self.scan.members.push(Member::new(name, span)?);
        Ok(())
    }
}

/// The records that are taken, by what their channel and event id say as JSON, and those that are left.
pub struct Found<'a> {
    pub scan: Scan,
    pub kinds: Vec<(&'a [u8], &'a [u8], Vec<u32>)>,
    pub left: Vec<u32>,
}

pub fn scan<'a>(data: &'a [u8], ends: &[u32]) -> Found<'a> {
    let scan = Scan { names: Names::new(), members: Vec::new(), firsts: Vec::with_capacity(ends.len() + 1) };
    let mut reader = Reader { scan, row: 0, before: NOTHING, channel: b"", event_id: b"" };
    let mut kinds: Vec<(&[u8], &[u8], Vec<u32>)> = Vec::new();
    let mut by_key: HashMap<(&[u8], &[u8]), usize> = HashMap::new();
    let mut left = Vec::new();
    let mut start = 0;
    for (row, end) in ends.iter().enumerate() {
        let (row, stop) = (row as u32, *end as usize);
        let first = reader.scan.members.len();
        reader.scan.firsts.push(first as u32);
        (reader.row, reader.before, reader.channel, reader.event_id) = (row, NOTHING, b"", b"");
        let record = data.get(start..stop).unwrap_or(b"");
        let is_taken = record.first() == Some(&b'{')
            && std::str::from_utf8(record).is_ok()
            && reader.record(&mut Cursor::new(&data[..stop], start)).is_ok();
        if is_taken {
            let key = (reader.channel, reader.event_id);
            let kind = *by_key.entry(key).or_insert_with(|| {
                kinds.push((key.0, key.1, Vec::new()));
                kinds.len() - 1
            });
            kinds[kind].2.push(row);
        } else {
            reader.scan.members.truncate(first);
            left.push(row);
        }
        start = stop;
    }
    let mut scan = reader.scan;
    scan.firsts.push(scan.members.len() as u32);
    scan.members.shrink_to_fit();
    Found { scan, kinds, left }
}
