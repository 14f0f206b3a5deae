//! Windows events in evtx_dump's JSON: a block is read once, and its members become columns when they are asked for.
//!
//! A record is *taken* when its shape is the usual one; any other is *left* to the pure code (`soc/parsers/decoders/
//! windows.py`, which says what the shapes mean). Nothing here panics for what stands in a record; if it did all the same, the caller
//! gets RuntimeError and leaves the block. The memory is at most 5 times the block: 12 bytes for each member, of which each
//! takes 6 bytes of JSON at least, 8 for each record, and bounded tables.

use std::collections::hash_map::{HashMap, RandomState};
use std::hash::BuildHasher;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};

use crate::json::{unescape, Cursor, Kind, Left, Read, Span};

/// Different names in one block; a record with more of them is left.
const MAX_NAMES: usize = 4096;
const SLOTS: usize = MAX_NAMES * 2;
const MAX_PROBES: usize = 32;
/// Values of one column that are remembered, so that equal ones are one object.
const MAX_REMEMBERED: usize = 4096;
/// What does not fit beside the kind of a value.
const MAX_LENGTH: usize = 1 << 29;
const NOTHING: u32 = u32::MAX;

/// What a name belongs to: a part of the event, or the attributes of an element of the System part.
const SYSTEM: u32 = 0;
const DATA: u32 = 1;
const USER: u32 = 2;
const MESSAGE: u32 = 3;
const ATTRIBUTES: u32 = 4;

struct Name {
    part: u32,
    hash: u64,
    text: Box<str>,
    /// The record that had it last, to know of names that come twice.
    seen: u32,
    /// The name that came after it last.
    next: u32,
}

/// The names of a block, each once.
struct Names {
    names: Vec<Name>,
    slots: Vec<u32>,
    seed: u64,
}

impl Names {
    fn new() -> Self {
        Names { names: Vec::new(), slots: vec![NOTHING; SLOTS], seed: RandomState::new().hash_one(0) }
    }

    fn find(&self, part: u32, text: &[u8]) -> Read<u32> {
        self.place(part, text, hash(text, self.seed ^ u64::from(part))).map(|slot| self.slots[slot])
    }

    /// The slot that has the name, or where it would be put.
    fn place(&self, part: u32, text: &[u8], hash: u64) -> Read<usize> {
        for probe in 0..MAX_PROBES {
            let slot = (hash as usize).wrapping_add(probe) % SLOTS;
            let Some(name) = self.names.get(self.slots[slot] as usize) else { return Ok(slot) };
            if name.hash == hash && name.part == part && name.text.as_bytes() == text {
                return Ok(slot);
            }
        }
        Err(Left)
    }

    /// The number of a name in the record `row`, where it must not have been before.
    fn take(&mut self, part: u32, text: &[u8], row: u32, before: u32) -> Read<u32> {
        let mut id = self.names.get(before as usize).map_or(NOTHING, |name| name.next);
        let is_next = |name: &Name| name.part == part && name.text.as_bytes() == text;
        if !self.names.get(id as usize).is_some_and(is_next) {
            let hash = hash(text, self.seed ^ u64::from(part));
            let slot = self.place(part, text, hash)?;
            id = self.slots[slot];
            if id == NOTHING {
                if self.names.len() == MAX_NAMES {
                    return Err(Left);
                }
                id = self.names.len() as u32;
                let text = std::str::from_utf8(text).map_err(|_| Left)?.into();
                self.names.push(Name { part, hash, text, seen: NOTHING, next: NOTHING });
                self.slots[slot] = id;
            }
            if let Some(name) = self.names.get_mut(before as usize) {
                name.next = id;
            }
        }
        let name = self.names.get_mut(id as usize).ok_or(Left)?;
        if name.seen == row {
            return Err(Left);
        }
        name.seen = row;
        Ok(id)
    }
}

fn hash(bytes: &[u8], seed: u64) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |state: u64, word: u64| {
        let product = u128::from(state ^ word) * u128::from(FACTOR);
        (product as u64) ^ ((product >> 64) as u64)
    };
    let mut chunks = bytes.chunks_exact(8);
    let mut state = mix(seed, bytes.len() as u64 ^ FACTOR);
    for chunk in &mut chunks {
        state = mix(state, u64::from_le_bytes(chunk.try_into().unwrap_or([0; 8])));
    }
    let mut last = [0; 8];
    last[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
    mix(state, u64::from_le_bytes(last))
}

/// A value and its name.
#[derive(Clone, Copy)]
struct Member {
    name: u32,
    start: u32,
    /// The length, and above it the kind.
    what: u32,
}

impl Member {
    fn new(name: u32, span: Span) -> Read<Self> {
        let length = span.stop - span.start;
        if length >= MAX_LENGTH {
            return Err(Left);
        }
        Ok(Member { name, start: span.start as u32, what: length as u32 | (span.kind as u32) << 29 })
    }

    fn kind(self) -> Kind {
        Kind::of(self.what >> 29)
    }

    fn bytes(self, data: &[u8]) -> &[u8] {
        let start = self.start as usize;
        data.get(start..start + (self.what as usize & (MAX_LENGTH - 1))).unwrap_or(b"")
    }
}

/// Where the members of the records of a block stand.
struct Scan {
    names: Names,
    members: Vec<Member>,
    /// The first member of each record, and one more at the end; a record that is left has none.
    firsts: Vec<u32>,
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
            b"Data" => Err(Left),
            b"#attributes" => cursor.value().map(|_| ()),
            _ => self.member(cursor, DATA, name),
        })
    }

    /// The elements below UserData stand for their own members.
    fn user(&mut self, cursor: &mut Cursor<'a>) -> Read<()> {
        cursor.members(|cursor, name| {
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
struct Found<'a> {
    scan: Scan,
    kinds: Vec<(&'a [u8], &'a [u8], Vec<u32>)>,
    left: Vec<u32>,
}

fn scan<'a>(data: &'a [u8], ends: &[u32]) -> Found<'a> {
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

/// Events of a block that belong together.
#[pyclass(frozen)]
pub struct WindowsEvents {
    scan: Arc<Scan>,
    data: Py<PyBytes>,
    loads: Py<PyAny>,
    rows: Vec<u32>,
}

impl WindowsEvents {
    fn members(&self, row: u32) -> &[Member] {
        let at = |row: usize| self.scan.firsts.get(row).map_or(0, |first| *first as usize);
        self.scan.members.get(at(row as usize)..at(row as usize + 1)).unwrap_or(&[])
    }

    fn part(&self, part: &str, element: Option<&str>) -> PyResult<Option<u32>> {
        match (part, element) {
            ("System", None) => Ok(Some(SYSTEM)),
            ("System", Some(element)) => Ok(self.id(SYSTEM, element).map(|id| ATTRIBUTES + id)),
            ("EventData", None) => Ok(Some(DATA)),
            ("UserData", None) => Ok(Some(USER)),
            ("RenderingInfo", None) => Ok(Some(MESSAGE)),
            _ => Err(PyValueError::new_err("no such part")),
        }
    }

    fn id(&self, part: u32, name: &str) -> Option<u32> {
        self.scan.names.find(part, name.as_bytes()).ok().filter(|id| *id != NOTHING)
    }

    fn list<'py>(&self, py: Python<'py>, id: u32) -> PyResult<Bound<'py, PyList>> {
        let mut values = Values::new(self, py);
        let mut place = 0;
        let mut found: Vec<Py<PyAny>> = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            let members = self.members(*row);
            if members.get(place).map_or(true, |member| member.name != id) {
                place = members.iter().position(|member| member.name == id).unwrap_or(members.len());
            }
            found.push(match members.get(place) {
                Some(member) => values.value(*member)?,
                None => py.None(),
            });
        }
        PyList::new(py, found)
    }
}

#[pymethods]
impl WindowsEvents {
    /// The places of the events in the block, in order.
    #[getter]
    fn rows(&self) -> Vec<u32> {
        self.rows.clone()
    }

    /// The names that these events have in a part.
    fn names(&self, part: &str) -> PyResult<Vec<&str>> {
        let Some(part) = self.part(part, None)? else { return Ok(Vec::new()) };
        let names = &self.scan.names.names;
        let mut is_there = vec![false; names.len()];
        for row in &self.rows {
            for member in self.members(*row) {
                is_there[member.name as usize] = true;
            }
        }
        let found = names.iter().zip(is_there).filter(|(name, is_there)| *is_there && name.part == part);
        Ok(found.map(|(name, _)| &*name.text).collect())
    }

    /// The values of a name, one an event: text (numbers and truth values as they are written), None where there is
    /// none, and what `loads` makes of lists, objects and fractions. None when no event of the block has the name.
    #[pyo3(signature = (part, name, element=None))]
    fn column<'py>(
        &self,
        py: Python<'py>,
        part: &str,
        name: &str,
        element: Option<&str>,
    ) -> PyResult<Option<Bound<'py, PyList>>> {
        let Some(id) = self.part(part, element)?.and_then(|part| self.id(part, name)) else { return Ok(None) };
        guarded(|| self.list(py, id))?.map(Some)
    }
}

/// Makes the values of one column; equal ones are one object.
struct Values<'a, 'py> {
    py: Python<'py>,
    data: &'a [u8],
    loads: &'a Py<PyAny>,
    remembered: Vec<Option<(Member, Py<PyAny>)>>,
    text: String,
}

impl<'a, 'py> Values<'a, 'py> {
    fn new(events: &'a WindowsEvents, py: Python<'py>) -> Self {
        let size = events.rows.len().min(MAX_REMEMBERED).next_power_of_two();
        let remembered = (0..size).map(|_| None).collect();
        Values { py, data: events.data.as_bytes(py), loads: &events.loads, remembered, text: String::new() }
    }

    fn value(&mut self, member: Member) -> PyResult<Py<PyAny>> {
        if member.kind() == Kind::Null {
            return Ok(self.py.None());
        }
        let bytes = member.bytes(self.data);
        let slot = hash(bytes, 0) as usize & (self.remembered.len() - 1);
        if let Some(Some((known, value))) = self.remembered.get(slot) {
            if known.what == member.what && known.bytes(self.data) == bytes {
                return Ok(value.clone_ref(self.py));
            }
        }
        let value = self.made(member.kind(), bytes)?;
        self.remembered[slot] = Some((member, value.clone_ref(self.py)));
        Ok(value)
    }

    fn made(&mut self, kind: Kind, bytes: &[u8]) -> PyResult<Py<PyAny>> {
        let text = match kind {
            Kind::Text | Kind::Word => std::str::from_utf8(bytes).map_err(|_| broken())?,
            Kind::Escaped => {
                unescape(bytes, &mut self.text).ok_or_else(broken)?;
                &self.text
            }
            Kind::Null => return Ok(self.py.None()),
            Kind::Other => return self.loads.call1(self.py, (PyBytes::new(self.py, bytes),)),
        };
        Ok(PyString::new(self.py, text).into_any().unbind())
    }
}

fn broken() -> PyErr {
    PyRuntimeError::new_err("a span that is no value")
}

/// A panic as RuntimeError: the pure code does the work then.
fn guarded<T>(work: impl FnOnce() -> T) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| PyRuntimeError::new_err("the kernel panicked"))
}

type Kinds = Vec<(Py<PyBytes>, Py<PyBytes>, Vec<u32>)>;

/// The Windows events of a block: for each pair of channel and event id, both as JSON, the events that have it; and the
/// rows that are left.
#[pyclass(frozen)]
pub struct WindowsBlock {
    scan: Arc<Scan>,
    data: Py<PyBytes>,
    loads: Py<PyAny>,
    kinds: Kinds,
    left: Vec<u32>,
}

#[pymethods]
impl WindowsBlock {
    /// `ends` are the ends of the records, 32 bits each, little-endian; `loads` reads JSON.
    #[new]
    fn new(py: Python<'_>, data: Bound<'_, PyBytes>, ends: &[u8], loads: Py<PyAny>) -> PyResult<Self> {
        let block = data.clone();
        let bytes = block.as_bytes();
        if bytes.len() >= u32::MAX as usize || ends.len() % 4 != 0 {
            return Err(PyValueError::new_err("a block of less than 4 GiB, and 4 bytes for each end"));
        }
        let ends: Vec<u32> =
            ends.chunks_exact(4).map(|end| u32::from_le_bytes(end.try_into().unwrap_or([0; 4]))).collect();
        let found = guarded(|| scan(bytes, &ends))?;
        let bytes = |of: &[u8]| PyBytes::new(py, of).unbind();
        let kinds = found.kinds.into_iter().map(|(channel, event_id, rows)| (bytes(channel), bytes(event_id), rows));
        let kinds = kinds.collect();
        Ok(WindowsBlock { scan: Arc::new(found.scan), data: data.unbind(), loads, kinds, left: found.left })
    }

    /// The rows that are left, in order.
    #[getter]
    fn left(&self) -> Vec<u32> {
        self.left.clone()
    }

    /// What each kind says of its channel and of its event id, as JSON; in the order of their first events.
    fn kinds(&self, py: Python<'_>) -> Vec<(Py<PyBytes>, Py<PyBytes>)> {
        self.kinds.iter().map(|(channel, event_id, _)| (channel.clone_ref(py), event_id.clone_ref(py))).collect()
    }

    /// The events of some kinds, in order.
    fn events(&self, py: Python<'_>, kinds: Vec<usize>) -> WindowsEvents {
        let found = kinds.iter().filter_map(|kind| self.kinds.get(*kind));
        let mut rows: Vec<u32> = found.flat_map(|(_, _, rows)| rows.iter().copied()).collect();
        rows.sort_unstable();
        WindowsEvents { scan: self.scan.clone(), data: self.data.clone_ref(py), loads: self.loads.clone_ref(py), rows }
    }
}

pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<WindowsBlock>()?;
    module.add_class::<WindowsEvents>()
}
