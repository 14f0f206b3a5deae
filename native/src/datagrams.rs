//! Many datagrams by one system call, and whose they are. The pure code is `soc/collectors/datagram_batch.py`.

use std::collections::HashMap;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::columns::guarded;
use crate::octets::Octets;

/// Octets of a datagram that lie beside those of the others; what is longer goes on in another piece of memory.
const SLOT: usize = 2048;
const REST: usize = 65536 - SLOT;
const CONTROL: usize = 128;
/// `sockaddr_in6`.
const NAME: usize = 28;
/// Of a datagram's size, as `array("I")` has it.
const SIZE: usize = 4;

/// What `recvmmsg` is told and tells. Its pointers lead into the memory beside it, which is never moved.
struct Heads {
    heads: Vec<libc::mmsghdr>,
    _pieces: Vec<libc::iovec>,
}

// SAFETY: the pointers are the kernel's to use while `receive` holds the inbox mutably; nobody else follows them.
unsafe impl Send for Heads {}
unsafe impl Sync for Heads {}

/// The memory for batches of so many datagrams; a batch does not point into it.
#[pyclass]
pub struct Inbox {
    slots: Vec<u8>,
    rests: Vec<u8>,
    names: Vec<u8>,
    controls: Vec<u8>,
    heads: Heads,
}

/// The octets of all, one behind another; the size of each, and the name of its sender.
type Batch<'py> = (Bound<'py, PyBytes>, Bound<'py, PyBytes>, Bound<'py, PyBytes>);

#[pymethods]
impl Inbox {
    #[new]
    fn new(most: usize) -> Inbox {
        // Zeros that the system gives page by page, for what is used.
        let (mut slots, mut rests) = (vec![0; most * SLOT], vec![0; most * REST]);
        let (mut names, mut controls) = (vec![0; most * NAME], vec![0; most * CONTROL]);
        let mut pieces: Vec<libc::iovec> = Vec::with_capacity(2 * most);
        for (slot, rest) in slots.chunks_mut(SLOT).zip(rests.chunks_mut(REST)) {
            for part in [slot, rest] {
                pieces.push(libc::iovec { iov_base: part.as_mut_ptr().cast(), iov_len: part.len() });
            }
        }
        let rooms = names.chunks_mut(NAME).zip(controls.chunks_mut(CONTROL));
        let heads = pieces
            .chunks_mut(2)
            .zip(rooms)
            .map(|(two, (name, control))| {
                // SAFETY: plain numbers and pointers, for which zeros are a value; some C libraries have more of them.
                let mut head: libc::mmsghdr = unsafe { std::mem::zeroed() };
                head.msg_hdr.msg_iov = two.as_mut_ptr();
                head.msg_hdr.msg_iovlen = 2;
                head.msg_hdr.msg_name = name.as_mut_ptr().cast();
                head.msg_hdr.msg_control = control.as_mut_ptr().cast();
                head
            })
            .collect();
        let heads = Heads { heads, _pieces: pieces };
        Inbox { slots, rests, names, controls, heads }
    }

    /// What is there, at most so many; none when there is nothing, or an ICMP error about an answer of ours.
    fn receive<'py>(&mut self, py: Python<'py>, fd: i32, most: usize) -> PyResult<Option<Batch<'py>>> {
        guarded(|| {
            let n = py.allow_threads(|| self.receive_some(fd, most));
            if n == 0 {
                return Ok(None);
            }
            let sizes: Vec<u32> = self.heads.heads[..n].iter().map(|head| head.msg_len).collect();
            let whole = sizes.iter().map(|&size| size as usize).sum();
            let mut data = Octets::new(py, whole)?;
            for (i, &size) in sizes.iter().enumerate() {
                let begun = (size as usize).min(SLOT);
                data.push(&self.slots[i * SLOT..][..begun]);
                data.push(&self.rests[i * REST..][..size as usize - begun]);
            }
            let sizes: Vec<u8> = sizes.iter().flat_map(|size| size.to_ne_bytes()).collect();
            let names = PyBytes::new(py, &self.names[..n * NAME]);
            Ok(Some((data.done(), PyBytes::new(py, &sizes), names)))
        })?
    }

    /// What the kernel told beside datagram i of the last batch: control messages.
    fn control(&self, i: usize) -> PyResult<&[u8]> {
        guarded(|| self.told(i))
    }

    /// Whether that is the same for the first n.
    fn are_told_alike(&self, n: usize) -> PyResult<bool> {
        guarded(|| (1..n).all(|i| self.told(i) == self.told(0)))
    }
}

impl Inbox {
    fn receive_some(&mut self, fd: i32, most: usize) -> usize {
        let heads = &mut self.heads.heads;
        let most = most.min(heads.len());
        for head in &mut heads[..most] {
            head.msg_hdr.msg_namelen = NAME as libc::socklen_t;
            head.msg_hdr.msg_controllen = CONTROL as _;
        }
        // SAFETY: each head points to memory of `self`, of the lengths that it says.
        let n = unsafe {
            libc::recvmmsg(fd, heads.as_mut_ptr(), most as u32, libc::MSG_DONTWAIT as _, std::ptr::null_mut())
        };
        usize::try_from(n).unwrap_or(0)
    }

    fn told(&self, i: usize) -> &[u8] {
        let size = self.heads.heads[i].msg_hdr.msg_controllen;
        &self.controls[i * CONTROL..][..size]
    }
}

/// A sender, the octets of its datagrams one behind another, their sizes, and that of the longest.
type OfOne<'py> = (Bound<'py, PyBytes>, Bound<'py, PyBytes>, Bound<'py, PyBytes>, usize);

/// What `OfOne` is made of.
#[derive(Default)]
struct Sent<'a> {
    key: &'a [u8],
    octets: Vec<u8>,
    sizes: Vec<u8>,
    longest: usize,
}

/// The datagrams of each sender, whose address stands at `start` to `stop` of its name; senders as they came first.
#[pyfunction]
fn datagrams_of_each<'py>(
    py: Python<'py>,
    data: Bound<'py, PyBytes>,
    sizes: Bound<'py, PyBytes>,
    names: &[u8],
    start: usize,
    stop: usize,
) -> PyResult<Vec<OfOne<'py>>> {
    guarded(|| {
        let octets = data.as_bytes();
        let lengths: Vec<usize> = sizes
            .as_bytes()
            .chunks_exact(SIZE)
            .map(|size| u32::from_ne_bytes([size[0], size[1], size[2], size[3]]) as usize)
            .collect();
        let is_whole = lengths.len() * SIZE == sizes.as_bytes().len()
            && lengths.len() * NAME == names.len()
            && lengths.iter().sum::<usize>() == octets.len()
            && start <= stop
            && stop <= NAME;
        if !is_whole || lengths.is_empty() {
            return Err(PyValueError::new_err("sizes and names are not of these octets"));
        }
        let mut keys = names.chunks_exact(NAME).map(|name| &name[start..stop]);
        let first = keys.next().unwrap_or_default();
        if keys.all(|key| key == first) {
            let longest = lengths.iter().copied().max().unwrap_or(0);
            return Ok(vec![(PyBytes::new(py, first), data.clone(), sizes.clone(), longest)]);
        }
        let mut places: HashMap<&[u8], usize> = HashMap::new();
        let mut found: Vec<Sent> = Vec::new();
        let mut at = 0;
        for (i, name) in names.chunks_exact(NAME).enumerate() {
            let key = &name[start..stop];
            let place = *places.entry(key).or_insert_with(|| {
                found.push(Sent { key, ..Sent::default() });
                found.len() - 1
            });
            let sent = &mut found[place];
            sent.octets.extend_from_slice(&octets[at..at + lengths[i]]);
            sent.sizes.extend_from_slice(&sizes.as_bytes()[i * SIZE..(i + 1) * SIZE]);
            sent.longest = sent.longest.max(lengths[i]);
            at += lengths[i];
        }
        let bytes = |octets: &[u8]| PyBytes::new(py, octets);
        Ok(found.iter().map(|sent| (bytes(sent.key), bytes(&sent.octets), bytes(&sent.sizes), sent.longest)).collect())
    })?
}

pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Inbox>()?;
    module.add_function(wrap_pyfunction!(datagrams_of_each, module)?)
}
