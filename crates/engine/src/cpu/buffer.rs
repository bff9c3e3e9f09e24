//! The CPU backend's buffers: memory of their own, or pieces of a region in large pages.
//!
//! A pass goes through some hundred buffers of a few MiB, row by row; each row of a tile is on another page of 4 KiB,
//! and a core remembers the places of few pages. In large pages (2 MiB) that is no matter. One buffer fills a large page
//! badly, hence one region for many.

use memmap2::MmapMut;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a large page.
const LARGE_PAGE: usize = 2 << 20;
/// Values from which on they are worth a large page.
const LARGE: usize = 1 << 16;
/// Values in a cache line: a piece begins with one.
pub(super) const LINE: usize = 16;

/// See [`mapped_bytes`].
static MAPPED: AtomicUsize = AtomicUsize::new(0);

/// Bytes of all regions that were ever made, as an allocator would count them.
pub fn mapped_bytes() -> usize {
    MAPPED.load(Ordering::Relaxed)
}

/// f32 values, zero at first.
#[derive(Debug)]
pub struct Buffer(Memory);

#[derive(Debug)]
enum Memory {
    Own(Vec<f32>),
    Piece(Piece),
}

impl From<Vec<f32>> for Buffer {
    fn from(values: Vec<f32>) -> Self {
        Self(Memory::Own(values))
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &self.0 {
            Memory::Own(values) => values,
            // SAFETY: the region lives, and these values are this piece's alone.
            Memory::Piece(piece) => unsafe { std::slice::from_raw_parts(piece.first.as_ptr(), piece.len) },
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        match &mut self.0 {
            Memory::Own(values) => values,
            // SAFETY: as above.
            Memory::Piece(piece) => unsafe {
                std::slice::from_raw_parts_mut(piece.first.as_ptr(), piece.len)
            },
        }
    }
}

/// Values of a region that belong to nobody else.
#[derive(Debug)]
struct Piece {
    first: NonNull<f32>,
    len: usize,
    /// Unmapped with its last piece.
    _region: Arc<MmapMut>,
}

// SAFETY: a piece is the only way to its values, as a `Box<[f32]>` would be.
unsafe impl Send for Piece {}
unsafe impl Sync for Piece {}

/// A region of which pieces are cut one after another.
#[derive(Debug)]
struct Region {
    map: Arc<MmapMut>,
    next: NonNull<f32>,
    left: usize,
}

// SAFETY: `next` points to values that no piece has yet.
unsafe impl Send for Region {}

impl Region {
    /// Room for `values`; `None` where the system has none.
    fn new(values: usize) -> Option<Self> {
        // A page more than the values fill, for the ends of lines; memory that nobody touches is not there.
        let bytes = (values * size_of::<f32>()).next_multiple_of(LARGE_PAGE) + LARGE_PAGE;
        let mut map = MmapMut::map_anon(bytes + LARGE_PAGE).ok()?;
        #[cfg(target_os = "linux")]
        if values >= LARGE {
            let _ = map.advise(memmap2::Advice::HugePage); // a system without large pages: small ones
        }
        MAPPED.fetch_add(values * size_of::<f32>(), Ordering::Relaxed);
        let first = map.as_mut_ptr();
        let next = NonNull::new(first.wrapping_add(first.align_offset(LARGE_PAGE)).cast())?;
        Some(Self { map: Arc::new(map), next, left: bytes / size_of::<f32>() })
    }

    fn piece(&mut self, len: usize) -> Option<Piece> {
        let padded = len.next_multiple_of(LINE);
        self.left = self.left.checked_sub(padded)?;
        let first = self.next;
        // SAFETY: within the mapping, or its end.
        self.next = unsafe { first.add(padded) };
        Some(Piece { first, len, _region: Arc::clone(&self.map) })
    }
}

/// Where new buffers come from.
#[derive(Debug, Default)]
pub struct Buffers {
    region: Mutex<Option<Region>>,
}

impl Buffers {
    fn region(&self) -> std::sync::MutexGuard<'_, Option<Region>> {
        self.region.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `len` zeros, of the region if there is one with room.
    pub fn zeros(&self, len: usize) -> Buffer {
        match self.region().as_mut().and_then(|region| region.piece(len)) {
            Some(piece) => Buffer(Memory::Piece(piece)),
            None => vec![0.0; len].into(),
        }
    }

    /// What `make` asks for, buffers of `values` in all, comes from one region. What another thread asks for meanwhile
    /// may lie there too, or take its room: that only changes when memory is given back.
    pub fn together<R>(&self, values: usize, make: impl FnOnce() -> R) -> R {
        *self.region() = Region::new(values);
        let made = make();
        *self.region() = None;
        made
    }
}

/// `len` zeros in memory of their own that begins with a cache line, in large pages if they are many.
///
/// # Panics
/// The system has no memory.
pub fn zeros_alone(len: usize) -> Buffer {
    let piece = Region::new(len).and_then(|mut region| region.piece(len));
    Buffer(Memory::Piece(piece.unwrap_or_else(|| panic!("no memory for {len} values"))))
}

/// Bytes of memory that [`zeros_alone`] takes, once all of it was written to.
pub fn bytes_alone(len: usize) -> usize {
    let bytes = len * size_of::<f32>();
    if len >= LARGE { bytes.next_multiple_of(LARGE_PAGE) } else { bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_zero_disjoint_and_outlive_their_maker() {
        let buffers = Buffers::default();
        let lens = [1usize, 1000, 0, 16, 300_001, 7];
        let mut made: Vec<Buffer> =
            buffers.together(lens.iter().sum(), || lens.map(|len| buffers.zeros(len)).into());
        assert!(made.iter().all(|buffer| matches!(buffer.0, Memory::Piece(_))));
        let after = buffers.zeros(5);
        assert!(matches!(after.0, Memory::Own(_)), "a region is for what was made together");
        drop(buffers);
        for (i, buffer) in made.iter_mut().enumerate() {
            assert_eq!((buffer.len(), buffer.as_ptr().align_offset(64)), (lens[i], 0));
            assert!(buffer.iter().all(|v| *v == 0.0), "buffer {i} has another's values");
            buffer.fill(i as f32 + 1.0);
        }
        made.remove(0);
        for (i, buffer) in made.iter().enumerate() {
            assert!(buffer.iter().all(|v| *v == i as f32 + 2.0), "buffer {i} lost its values");
        }
    }

    #[test]
    fn what_a_region_has_no_room_for_has_memory_of_its_own() {
        let buffers = Buffers::default();
        let many = buffers.together(10, || [10, 3 << 20, 10].map(|len| buffers.zeros(len)));
        assert!(
            many.iter().zip([10, 3 << 20, 10]).all(|(b, len)| b.len() == len && b.iter().all(|v| *v == 0.0))
        );
        assert!(matches!(many[1].0, Memory::Own(_)));
    }
}
