//! The compiled half of soc-toolkit. Each function gives what the pure code beside its caller gives; what it does not
//! take on, it leaves to that code.

mod columns;
mod datagrams;
mod flows;
mod frames;
mod json;
mod names;
mod octets;
mod windows;

use pyo3::prelude::*;

#[pymodule]
fn soc_kernel(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("VERSION", 6)?;
    columns::add(module)?;
    datagrams::add(module)?;
    flows::add(module)?;
    frames::add(module)?;
    Ok(())
}
