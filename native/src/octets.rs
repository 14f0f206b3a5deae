//! Python's bytes, written once: neither gathered elsewhere before nor filled with zeros.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Bytes of a size that is known, in the making; nobody else sees them before they are `done`.
pub struct Octets<'py> {
    made: Bound<'py, PyBytes>,
    start: *mut u8,
    size: usize,
    at: usize,
}

impl<'py> Octets<'py> {
    pub fn new(py: Python<'py>, size: usize) -> PyResult<Self> {
        let length = isize::try_from(size)?;
        // SAFETY: without a source CPython gives bytes whose octets are ours to write, or none and an error.
        let (made, start) = unsafe {
            let made = pyo3::ffi::PyBytes_FromStringAndSize(std::ptr::null(), length);
            let made = Bound::from_owned_ptr_or_err(py, made)?.downcast_into_unchecked::<PyBytes>();
            let start = pyo3::ffi::PyBytes_AsString(made.as_ptr()).cast();
            (made, start)
        };
        Ok(Octets { made, start, size, at: 0 })
    }

    /// Write these behind what is written. Panics where there is no room for them.
    pub fn push(&mut self, part: &[u8]) {
        assert!(part.len() <= self.size - self.at);
        // SAFETY: there is room for them, and `part` cannot be of these bytes, which nobody else has.
        unsafe { std::ptr::copy_nonoverlapping(part.as_ptr(), self.start.add(self.at), part.len()) };
        self.at += part.len();
    }

    /// All of them. Panics where some are not written.
    pub fn done(self) -> Bound<'py, PyBytes> {
        assert_eq!(self.at, self.size);
        self.made
    }
}
