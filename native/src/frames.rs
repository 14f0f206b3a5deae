//! Frames of the logs.

use pyo3::prelude::*;

/// CRC-32 (IEEE 802.3), going on from `start`: what `zlib.crc32` gives.
#[pyfunction]
fn crc32(py: Python<'_>, data: &[u8], start: u32) -> u32 {
    py.allow_threads(|| {
        let mut hasher = crc32fast::Hasher::new_with_initial(start);
        hasher.update(data);
        hasher.finalize()
    })
}

pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(crc32, module)?)
}
