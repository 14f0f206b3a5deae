//! The names in a block, each once and with a number: the usual next one is known without looking.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use crate::json::{Left, Read};

/// Different names in one block; a record with more of them is left.
const MAX_NAMES: usize = 4096;
const SLOTS: usize = MAX_NAMES * 2;
/// So far a name may lie from its place; then its record is left, so that no names make this slow.
const MAX_PROBES: usize = 32;
/// The number of no name.
pub const NOTHING: u32 = u32::MAX;

pub struct Name {
    pub part: u32,
    hash: u64,
    pub text: Box<str>,
    /// The record that had it last, to know of names that come twice.
    seen: u32,
    /// The name that came after it last.
    next: u32,
}

/// The names of a block, each once.
pub struct Names {
    pub names: Vec<Name>,
    slots: Vec<u32>,
    seed: u64,
}

impl Names {
    pub fn new() -> Self {
        Names { names: Vec::new(), slots: vec![NOTHING; SLOTS], seed: RandomState::new().hash_one(0) }
    }

    /// The number of a name, or `NOTHING`.
    pub fn find(&self, part: u32, text: &[u8]) -> u32 {
        let place = self.place(part, text, hash(text, self.seed ^ u64::from(part)));
        place.map_or(NOTHING, |slot| self.slots[slot])
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
    pub fn take(&mut self, part: u32, text: &[u8], row: u32, before: u32) -> Read<u32> {
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

/// Not for keys that strangers choose, but with a seed that they do not know.
pub fn hash(bytes: &[u8], seed: u64) -> u64 {
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
