//! Flow exports: the walk over plain messages, the elements of records as numbers, and texts of whole columns.
//!
//! Everything else (templates, options, variable lengths, lengths that lie) is left to `soc/parsers/decoders`. Nothing here
//! panics for what a datagram holds; if it did all the same, the caller gets RuntimeError, and pure code does the work.

use crate::columns::guarded;
use pyo3::buffer::{Element, PyBuffer, ReadOnlyCell};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::PyBytes;
use sha1::{Digest, Sha1};
use std::cell::Cell;

/// So many records are read column by column while they stay in the processor's first cache.
const TILE: usize = 256;
/// Of Base64.
static LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Octets as decimal text: three characters, then how many of them count.
static DECIMALS: [[u8; 4]; 256] = decimals();
/// Records are addressed with 32 bits in Arrow text; more octets than this are refused.
const MAX_TEXT: usize = i32::MAX as usize;

/// What a message says that holds one data set and nothing else: `Plain` of `flow_runs`.
struct Plain {
    at_us: i64,
    uptime_ms: i64,
    sequence: u32,
    domain: u32,
    rate: u16,
    number: u16,
    start: usize,
}

fn u16_at(data: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([data[at], data[at + 1]])
}

fn u32_at(data: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]])
}

/// `plain` of the decoder of this version; none for a version that has none.
fn plain(version: u16, data: &[u8]) -> Option<Plain> {
    match version {
        5 => plain_v5(data),
        9 => plain_v9(data),
        10 => plain_ipfix(data),
        _ => None,
    }
}

fn plain_v5(data: &[u8]) -> Option<Plain> {
    const HEADER: usize = 24;
    const RECORD: usize = 48;
    if data.len() < HEADER {
        return None;
    }
    let count = u16_at(data, 2) as usize;
    if count == 0 || data.len() != HEADER + count * RECORD {
        return None;
    }
    Some(Plain {
        at_us: i64::from(u32_at(data, 8)) * 1_000_000 + i64::from(u32_at(data, 12)) / 1000,
        uptime_ms: i64::from(u32_at(data, 4)),
        sequence: u32_at(data, 16),
        domain: u32::from(u16_at(data, 20)),
        rate: u16_at(data, 22) & 0x3FFF,
        number: 0,
        start: HEADER,
    })
}

fn plain_v9(data: &[u8]) -> Option<Plain> {
    const HEADER: usize = 20;
    if data.len() < HEADER + 4 {
        return None;
    }
    let number = u16_at(data, HEADER);
    if number < 256 || u16_at(data, HEADER + 2) as usize + HEADER != data.len() {
        return None;
    }
    Some(Plain {
        at_us: i64::from(u32_at(data, 8)) * 1_000_000,
        uptime_ms: i64::from(u32_at(data, 4)),
        sequence: u32_at(data, 12),
        domain: u32_at(data, 16),
        rate: 0,
        number,
        start: HEADER + 4,
    })
}

fn plain_ipfix(data: &[u8]) -> Option<Plain> {
    const HEADER: usize = 16;
    if data.len() < HEADER + 4 {
        return None;
    }
    let (number, length) = (u16_at(data, HEADER), u16_at(data, 2) as usize);
    if number < 256 || length != data.len() || u16_at(data, HEADER + 2) as usize + HEADER != length {
        return None;
    }
    Some(Plain {
        at_us: i64::from(u32_at(data, 4)) * 1_000_000,
        uptime_ms: 0,
        sequence: u32_at(data, 8),
        domain: u32_at(data, 12),
        rate: 0,
        number,
        start: HEADER + 4,
    })
}

/// What `flow_sets` knows of the exporter before the first message of a run.
#[derive(FromPyObject)]
struct Before {
    version: u16,
    size: usize,
    padding: usize,
    counts: String,
    sequence: u32,
    records: Option<u32>,
}

/// Four columns of numbers, what stands before the records, and the records.
type Columns<'py> = ([Bound<'py, PyBytes>; 4], Bound<'py, PyBytes>, Bound<'py, PyBytes>);

/// `gather` of `flow_runs`: from `rows[at]` on, the messages like the first one that follow each other without a gap.
///
/// Gives what `Messages` of `flow_runs` has, the numbers as int64.
#[pyfunction]
fn flow_run<'py>(
    py: Python<'py>,
    data: &[u8],
    end: PyBuffer<u32>,
    rows: PyBuffer<i64>,
    at: usize,
    before: Before,
) -> PyResult<Columns<'py>> {
    guarded(|| flow_run_of(py, data, end, rows, at, before))?
}

fn flow_run_of<'py>(
    py: Python<'py>,
    data: &[u8],
    end: PyBuffer<u32>,
    rows: PyBuffer<i64>,
    at: usize,
    before: Before,
) -> PyResult<Columns<'py>> {
    let (end, rows) = (cells(py, &end)?, cells(py, &rows)?);
    if before.size == 0 {
        return Err(PyValueError::new_err("records of no octets"));
    }
    let mut columns: [Vec<i64>; 4] = Default::default();
    // Room for all there is: what is not written costs no memory.
    let (mut prefixes, mut fixed) = (Vec::new(), Vec::with_capacity(data.len()));
    let (mut sequence, mut records) = (before.sequence, before.records);
    let mut first: Option<Plain> = None;
    for row in rows.iter().skip(at) {
        let message = record(data, end, row.get())?;
        let Some(found) = plain(before.version, message) else { break };
        if first
            .as_ref()
            .is_some_and(|first| (found.domain, found.number, found.rate) != (first.domain, first.number, first.rate))
        {
            break;
        }
        let octets = message.len() - found.start;
        let (n, rest) = (octets / before.size, octets % before.size);
        let step = match before.counts.as_str() {
            "messages" => Some(1),
            "after" => Some(n as u32),
            "before" => records,
            _ => records.filter(|records| *records == n as u32), // nobody knows yet: both are the same
        };
        let follows = step.is_some_and(|step| found.sequence == sequence.wrapping_add(step));
        if n == 0 || rest > before.padding || !follows {
            break;
        }
        for (column, value) in
            columns.iter_mut().zip([n as i64, found.at_us, found.uptime_ms, i64::from(found.sequence)])
        {
            column.push(value);
        }
        prefixes.extend_from_slice(&message[..found.start]);
        fixed.extend_from_slice(&message[found.start..message.len() - rest]);
        (sequence, records) = (found.sequence, Some(n as u32));
        first = first.or(Some(found));
    }
    Ok((columns.map(|column| int64s(py, &column)), PyBytes::new(py, &prefixes), PyBytes::new(py, &fixed)))
}

fn record<'a>(data: &'a [u8], end: &[ReadOnlyCell<u32>], row: i64) -> PyResult<&'a [u8]> {
    let wrong = || PyValueError::new_err("a record outside its block");
    let row = usize::try_from(row).map_err(|_| wrong())?;
    let stop = end.get(row).ok_or_else(wrong)?.get() as usize;
    let start = if row == 0 { 0 } else { end[row - 1].get() as usize };
    data.get(start..stop).ok_or_else(wrong)
}

fn cells<'a, T: Element>(py: Python<'a>, buffer: &'a PyBuffer<T>) -> PyResult<&'a [ReadOnlyCell<T>]> {
    buffer.as_slice(py).ok_or_else(|| PyValueError::new_err("an array that is not in one piece"))
}

fn int64s<'py>(py: Python<'py>, values: &[i64]) -> Bound<'py, PyBytes> {
    let octets: Vec<u8> = values.iter().flat_map(|value| value.to_ne_bytes()).collect();
    PyBytes::new(py, &octets)
}

/// One element of fixed length: where it stands in a record, how it is read, and by what it is multiplied.
#[derive(FromPyObject)]
struct Cell8 {
    offset: usize,
    length: usize,
    is_signed: bool,
    factor: i64,
    most: u64,
}

/// Elements of `fixed`, records of `size` octets each, as int64 into the rows of `out` (an array of one row a cell).
///
/// Gives for each cell whether all its values are at most `most`; where they are not its row means nothing.
#[pyfunction]
fn flow_columns(
    py: Python<'_>,
    fixed: &[u8],
    size: usize,
    wanted: Vec<Cell8>,
    out: PyBuffer<i64>,
) -> PyResult<Vec<bool>> {
    guarded(|| flow_columns_of(py, fixed, size, wanted, out))?
}

fn flow_columns_of(
    py: Python<'_>,
    fixed: &[u8],
    size: usize,
    wanted: Vec<Cell8>,
    out: PyBuffer<i64>,
) -> PyResult<Vec<bool>> {
    let wrong = PyValueError::new_err;
    if size == 0 || fixed.len() % size != 0 {
        return Err(wrong("octets that are no whole records"));
    }
    let n = fixed.len() / size;
    let out = out.as_mut_slice(py).ok_or_else(|| wrong("an array that is not in one piece, or read-only"))?;
    if out.len() != n * wanted.len() {
        return Err(wrong("an array of another size"));
    }
    if wanted.iter().any(|cell| cell.length == 0 || cell.length > 8 || cell.offset.saturating_add(cell.length) > size) {
        return Err(wrong("an element outside its record"));
    }
    let mut largest = vec![0u64; wanted.len()];
    for (tile, records) in fixed.chunks(TILE * size).enumerate() {
        for (k, cell) in wanted.iter().enumerate() {
            let from = k * n + tile * TILE;
            let here = &out[from..from + records.len() / size];
            let seen = match cell.length {
                1 => read::<1>(records, size, cell, here),
                2 => read::<2>(records, size, cell, here),
                3 => read::<3>(records, size, cell, here),
                4 => read::<4>(records, size, cell, here),
                5 => read::<5>(records, size, cell, here),
                6 => read::<6>(records, size, cell, here),
                7 => read::<7>(records, size, cell, here),
                _ => read::<8>(records, size, cell, here),
            };
            largest[k] = largest[k].max(seen);
        }
    }
    Ok(wanted.iter().zip(largest).map(|(cell, seen)| cell.is_signed || seen <= cell.most).collect())
}

/// One cell of N octets of some records; the largest value before it is multiplied.
fn read<const N: usize>(records: &[u8], size: usize, cell: &Cell8, out: &[Cell<i64>]) -> u64 {
    let unused = 64 - 8 * N as u32;
    let mut largest = 0;
    for (record, place) in records.chunks_exact(size).zip(out) {
        let mut octets = [0; 8];
        octets[..N].copy_from_slice(&record[cell.offset..cell.offset + N]);
        let shifted = u64::from_be_bytes(octets);
        if cell.is_signed {
            place.set(((shifted as i64) >> unused).wrapping_mul(cell.factor));
        } else {
            let found = shifted >> unused;
            largest = largest.max(found);
            place.set((found as i64).wrapping_mul(cell.factor));
        }
    }
    largest
}

/// Texts of an Arrow array: where each ends (int32, one more than there are), and their characters.
struct Texts {
    ends: Vec<u8>,
    characters: Vec<u8>,
}

impl Texts {
    fn with_room(n: usize, each: usize) -> Self {
        let mut texts = Texts { ends: Vec::with_capacity(4 * n + 4), characters: Vec::with_capacity(n * each) };
        texts.ends.extend_from_slice(&0i32.to_ne_bytes());
        texts
    }

    fn end(&mut self) -> PyResult<()> {
        if self.characters.len() > MAX_TEXT {
            return Err(too_long());
        }
        self.ends.extend_from_slice(&(self.characters.len() as i32).to_ne_bytes());
        Ok(())
    }

    fn done(self, py: Python<'_>) -> (Bound<'_, PyBytes>, Bound<'_, PyBytes>) {
        (PyBytes::new(py, &self.ends), PyBytes::new(py, &self.characters))
    }
}

fn too_long() -> PyErr {
    PyValueError::new_err("more text than one Arrow array holds")
}

type Arrow<'py> = (Bound<'py, PyBytes>, Bound<'py, PyBytes>);

/// Dotted text of addresses of four octets each.
#[pyfunction]
fn ipv4_texts<'py>(py: Python<'py>, octets: &[u8]) -> PyResult<Arrow<'py>> {
    guarded(|| ipv4_texts_of(py, octets))?
}

fn ipv4_texts_of<'py>(py: Python<'py>, octets: &[u8]) -> PyResult<Arrow<'py>> {
    const LONGEST: usize = 16; // and a dot behind
    let n = octets.len() / 4;
    let (mut ends, mut characters) = (vec![0u8; 4 * n + 4], vec![0u8; LONGEST * (n + 1)]);
    let mut at = 0;
    for (address, end) in octets.chunks_exact(4).zip(ends[4..].chunks_exact_mut(4)) {
        let text = &mut characters[at..at + LONGEST];
        let mut length = 0;
        for octet in address {
            let digits = &DECIMALS[*octet as usize];
            text[length..length + 3].copy_from_slice(&digits[..3]);
            length += digits[3] as usize;
            text[length] = b'.';
            length += 1;
        }
        at += length - 1;
        if at > MAX_TEXT {
            return Err(too_long());
        }
        end.copy_from_slice(&(at as i32).to_ne_bytes());
    }
    characters.truncate(at);
    Ok(Texts { ends, characters }.done(py))
}

const fn decimals() -> [[u8; 4]; 256] {
    let mut all = [[0; 4]; 256];
    let mut octet = 0;
    while octet < 256 {
        let (hundreds, tens, ones) = (octet / 100, octet / 10 % 10, octet % 10);
        let mut text = [0; 4];
        if hundreds > 0 {
            text[0] = b'0' + hundreds as u8;
            text[3] += 1;
        }
        if octet >= 10 {
            text[text[3] as usize] = b'0' + tens as u8;
            text[3] += 1;
        }
        text[text[3] as usize] = b'0' + ones as u8;
        text[3] += 1;
        all[octet] = text;
        octet += 1;
    }
    all
}

fn decimal(text: &mut Vec<u8>, value: u64) {
    let mut digits = [0u8; 20];
    let (mut at, mut rest) = (digits.len(), value);
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    text.extend_from_slice(&digits[at..]);
}

/// The head of each event's record, then the event's number in the record: what `soc.position` says of events.
#[pyfunction]
fn position_texts<'py>(
    py: Python<'py>,
    heads: Vec<PyBackedStr>,
    rows: PyBuffer<i64>,
    parts: PyBuffer<i64>,
) -> PyResult<Arrow<'py>> {
    guarded(|| position_texts_of(py, heads, rows, parts))?
}

fn position_texts_of<'py>(
    py: Python<'py>,
    heads: Vec<PyBackedStr>,
    rows: PyBuffer<i64>,
    parts: PyBuffer<i64>,
) -> PyResult<Arrow<'py>> {
    let (rows, parts) = (cells(py, &rows)?, cells(py, &parts)?);
    if rows.len() != parts.len() {
        return Err(PyValueError::new_err("arrays of two lengths"));
    }
    let mut texts = Texts::with_room(rows.len(), 32);
    for (row, part) in rows.iter().zip(parts) {
        let head = usize::try_from(row.get()).ok().and_then(|row| heads.get(row));
        let (Some(head), Ok(part)) = (head, u64::try_from(part.get())) else {
            return Err(PyValueError::new_err("an event of no record"));
        };
        texts.characters.extend_from_slice(head.as_bytes());
        decimal(&mut texts.characters, part);
        texts.end()?;
    }
    Ok(texts.done(py))
}

/// Community ids of messages of `size` octets each: `1:` and the Base64 (RFC 4648) of a SHA-1, 30 characters a message.
#[pyfunction]
fn community_texts<'py>(py: Python<'py>, messages: &[u8], size: usize) -> PyResult<Bound<'py, PyBytes>> {
    guarded(|| community_texts_of(py, messages, size))?
}

fn community_texts_of<'py>(py: Python<'py>, messages: &[u8], size: usize) -> PyResult<Bound<'py, PyBytes>> {
    if size == 0 || messages.len() % size != 0 {
        return Err(PyValueError::new_err("octets that are no whole messages"));
    }
    let mut texts = Vec::with_capacity(messages.len() / size * 30);
    for message in messages.chunks_exact(size) {
        let mut digest = [0u8; 21]; // the 21st is not SHA-1's: with it there are whole groups of three
        digest[..20].copy_from_slice(&Sha1::digest(message));
        let mut text = *b"1:___________________________=";
        for (group, letters) in digest.chunks_exact(3).zip(text[2..].chunks_exact_mut(4)) {
            let bits = usize::from(group[0]) << 16 | usize::from(group[1]) << 8 | usize::from(group[2]);
            for (place, letter) in letters.iter_mut().enumerate() {
                *letter = LETTERS[bits >> (18 - 6 * place) & 63];
            }
        }
        text[29] = b'=';
        texts.extend_from_slice(&text);
    }
    Ok(PyBytes::new(py, &texts))
}

pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(flow_run, module)?)?;
    module.add_function(wrap_pyfunction!(flow_columns, module)?)?;
    module.add_function(wrap_pyfunction!(ipv4_texts, module)?)?;
    module.add_function(wrap_pyfunction!(position_texts, module)?)?;
    module.add_function(wrap_pyfunction!(community_texts, module)?)
}
