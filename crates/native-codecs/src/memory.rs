//! Memory that is shared with another process, and what the allocator does with memory that is free again.

use std::fs::File;
use std::io;

use memmap2::{Mmap, MmapOptions};

/// Memory that a process keeps for the next picture, in bytes: what a CT or an MR takes. Giving it back after
/// each, and having it again page by page, takes longer than drawing them.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT: libc::c_int = 16 << 20;

/// From here on memory is asked of the system by itself, and given back to it at once.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE: libc::c_int = 8 << 20;

/// Has this process keep some memory that is free again, for processes that draw one picture after the other. What
/// is large is given back as ever. Other allocators than glibc's do as they like.
pub fn keep_freed() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: both are parameters that mallopt knows; they change no memory that is in use.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}

/// Bytes that another process has put into memory that both share, where they lie.
#[derive(Debug)]
pub struct Shared(Mmap);

impl Shared {
    /// The `length` bytes from `at` on, which is a multiple of the size of a page. The file may not become shorter as
    /// long as this value lives, and nobody may write there while its bytes are read: between a pool and its worker
    /// the task at hand sees to both.
    ///
    /// # Errors
    /// That there are fewer; what the system says.
    pub fn map(file: &File, at: u64, length: usize) -> io::Result<Self> {
        let end = at.checked_add(length as u64).ok_or(io::ErrorKind::InvalidInput)?;
        if file.metadata()?.len() < end {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // SAFETY: the bytes are there, and by the contract above they stay as they are. Who breaks it is the
        // process that this one draws for and trusts.
        let map = unsafe { MmapOptions::new().offset(at).len(length).map(file)? };
        Ok(Self(map))
    }
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_is_there_is_mapped_and_nothing_else() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[0; 4096]).unwrap();
        file.write_all(b"pixels").unwrap();
        assert_eq!(Shared::map(&file, 4096, 6).unwrap().as_ref(), b"pixels");
        assert!(Shared::map(&file, 4096, 7).is_err());
        assert!(Shared::map(&file, u64::MAX, 1).is_err());
        assert!(Shared::map(&file, 4096, usize::MAX).is_err());
    }
}
