//! What the kernel found of Windows events, as Python's values: columns that are made when they are asked for.
//!
//! Nothing here panics for what stands in a record; if it did all the same, the caller gets RuntimeError, and pure code
//! does the work.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};

use crate::json::{lines, unescape, Kind};
use crate::names::{hash, NOTHING};
use crate::windows::{scan, Member, Scan, ATTRIBUTES, DATA, MESSAGE, SYSTEM, USER};

/// Values of one column that are remembered, so that equal ones are one object.
const MAX_REMEMBERED: usize = 4096;

/// Values, and whether they are all text or nothing.
type Column<'py> = (Bound<'py, PyList>, bool);

/// Events of a block that belong together.
#[pyclass(frozen)]
pub struct WindowsEvents {
    scan: Arc<Scan>,
    data: Py<PyBytes>,
    loads: Py<PyAny>,
    rows: Vec<u32>,
}

impl WindowsEvents {
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
        Some(self.scan.names.find(part, name.as_bytes())).filter(|id| *id != NOTHING)
    }

    fn list<'py>(&self, py: Python<'py>, id: u32) -> PyResult<Column<'py>> {
        let mut is_text = true;
        let mut values = Values::new(self, py);
        let mut place = 0;
        let mut found: Vec<Py<PyAny>> = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            let members = self.scan.members(*row);
            if members.get(place).map_or(true, |member| member.name != id) {
                place = members.iter().position(|member| member.name == id).unwrap_or(members.len());
            }
            found.push(match members.get(place) {
                Some(member) => {
                    is_text &= member.kind() != Kind::Other;
                    values.value(*member)?
                }
                None => py.None(),
            });
        }
        Ok((PyList::new(py, found)?, is_text))
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
            for member in self.scan.members(*row) {
                if let Some(is_there) = is_there.get_mut(member.name as usize) {
                    *is_there = true;
                }
            }
        }
        let found = names.iter().zip(is_there).filter(|(name, is_there)| *is_there && name.part == part);
        Ok(found.map(|(name, _)| &*name.text).collect())
    }

    /// The values of a name, one an event: text (numbers and truth values as they are written), None where there is
    /// none, and what `loads` makes of lists, objects and fractions; and whether there is none of these. None when no event
    /// of the block has the name.
    #[pyo3(signature = (part, name, element=None))]
    fn column<'py>(
        &self,
        py: Python<'py>,
        part: &str,
        name: &str,
        element: Option<&str>,
    ) -> PyResult<Option<Column<'py>>> {
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
        let slot = mark(bytes) as usize & (self.remembered.len() - 1);
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
                self.text.clear();
                unescape(bytes, &mut self.text).ok_or_else(broken)?;
                &self.text
            }
            Kind::Lines => {
                self.text.clear();
                lines(bytes, &mut self.text).ok_or_else(broken)?;
                &self.text
            }
            Kind::Null => return Ok(self.py.None()),
            Kind::Other => return self.loads.call1(self.py, (PyBytes::new(self.py, bytes),)),
        };
        Ok(PyString::new(self.py, text).into_any().unbind())
    }
}

/// Where a value may be remembered: long ones are told apart by their length, begin, middle and end.
fn mark(bytes: &[u8]) -> u64 {
    let half = bytes.len() / 2;
    match bytes.len() {
        0..=48 => hash(bytes, 0),
        n => hash(&bytes[half - 8..half + 8], hash(&bytes[..16], hash(&bytes[n - 16..], n as u64))),
    }
}

fn broken() -> PyErr {
    PyRuntimeError::new_err("a span that is no value")
}

/// A panic as RuntimeError: the pure code does the work then.
pub fn guarded<T>(work: impl FnOnce() -> T) -> PyResult<T> {
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

#[cfg(test)]
mod tests {
    use super::guarded;

    #[test]
    fn a_panic_is_an_error() {
        assert!(guarded(|| -> () { panic!("as a mistake of ours would") }).is_err());
        assert!(guarded(|| 1).is_ok());
    }
}
