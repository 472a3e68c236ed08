//! One file: written aside and renamed, and believed only where its checksum and names fit.
//!
//! Nothing is synced to the disk: what a loss of power tears is found by the checksum, and made again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

use crate::layout::Id;

const MAGIC: &[u8; 8] = b"LBXDISK1";
const HEADER: usize = 8 + 16 + 16 + 8;
const CHECKSUM: usize = 16;

/// What files are named while they are written.
pub(crate) const ASIDE: &str = ".tmp-";

/// What a file takes on disk: whole blocks.
pub(crate) fn room(length: u64) -> u64 {
    length.div_ceil(BLOCK) * BLOCK
}

/// What a file of a value takes.
pub(crate) fn room_of_value(length: u64) -> u64 {
    room(length + (HEADER + CHECKSUM) as u64)
}

/// What a directory takes at least.
pub(crate) const BLOCK: u64 = 4096;

/// Why there is no value.
#[derive(Debug)]
pub(crate) enum ReadError {
    Absent,
    /// Whatever is there is none of ours, or damaged.
    Damaged,
    Io(io::Error),
}

/// Writes a value, in parts, into a directory that is there.
pub(crate) fn write(
    dir: &Path,
    path: &Path,
    (group, key): (&Id, &Id),
    value: &[&[u8]],
) -> io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Relaxed);
    let aside = dir.join(format!("{ASIDE}{}-{number}", std::process::id()));
    let written = write_aside(&aside, (group, key), value).and_then(|()| fs::rename(&aside, path));
    if written.is_err() {
        let _ = fs::remove_file(&aside);
    }
    written
}

fn write_aside(aside: &Path, (group, key): (&Id, &Id), value: &[&[u8]]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits() as i32)
        .open(aside)?;
    let length: u64 = value.iter().map(|part| part.len() as u64).sum();
    let header = header(group, key, length);
    let mut hash = Sha256::new();
    hash.update(header);
    value.iter().for_each(|part| hash.update(part));
    let checksum = &hash.finalize()[..CHECKSUM];
    // Small ones in one call.
    if length < 64 << 10 {
        let mut whole = Vec::with_capacity(HEADER + length as usize + CHECKSUM);
        whole.extend_from_slice(&header);
        value.iter().for_each(|part| whole.extend_from_slice(part));
        whole.extend_from_slice(checksum);
        return file.write_all(&whole);
    }
    file.write_all(&header)?;
    for part in value {
        file.write_all(part)?;
    }
    file.write_all(checksum)
}

fn header(group: &Id, key: &Id, length: u64) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(MAGIC);
    header[8..24].copy_from_slice(group);
    header[24..40].copy_from_slice(key);
    header[40..].copy_from_slice(&length.to_le_bytes());
    header
}

/// The value of a file.
pub(crate) fn read(path: &Path, (group, key): (&Id, &Id)) -> Result<Vec<u8>, ReadError> {
    let mut file = open(path)?;
    let length = file.metadata()?.len();
    let overhead = (HEADER + CHECKSUM) as u64;
    let Some(expected) = length.checked_sub(overhead) else { return Err(ReadError::Damaged) };
    let mut found = [0; HEADER];
    file.read_exact(&mut found)?;
    if found != header(group, key, expected) {
        return Err(ReadError::Damaged);
    }
    // The file is at least as long as this.
    let mut value = vec![0; usize::try_from(expected).map_err(|_| ReadError::Damaged)?];
    let mut checksum = [0; CHECKSUM];
    file.read_exact(&mut value)?;
    file.read_exact(&mut checksum)?;
    let mut hash = Sha256::new();
    hash.update(found);
    hash.update(&value);
    if hash.finalize()[..CHECKSUM] != checksum {
        return Err(ReadError::Damaged);
    }
    Ok(value)
}

/// Opens a plain file; a link leads nowhere.
fn open(path: &Path) -> Result<File, ReadError> {
    // A pipe would be waited for.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = opened.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ReadError::Absent,
        _ if fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_file()) => ReadError::Damaged,
        _ => ReadError::Io(error),
    })?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(ReadError::Damaged) }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        // Shorter than it was a moment ago.
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::Damaged } else { Self::Io(error) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;

    const NAMES: (&Id, &Id) = (&[1; 16], &[2; 16]);

    fn written(value: &[&[u8]]) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write(dir.path(), &path, NAMES, value).unwrap();
        (dir, path)
    }

    #[test]
    fn a_value_is_read_as_it_was_written_and_only_by_its_name() {
        let long = [7; 200_000];
        let values: [&[&[u8]]; 4] = [&[], &[b"a"], &[b"abc", b"", b"defg"], &[&long, b"8"]];
        for value in values {
            let (dir, path) = written(value);
            assert_eq!(read(&path, NAMES).unwrap(), value.concat());
            let other = read(&path, (&[1; 16], &[3; 16]));
            assert!(matches!(other, Err(ReadError::Damaged)));
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
            let length = value.concat().len() as u64;
            assert_eq!(room_of_value(length), room(path.metadata().unwrap().len()));
        }
    }

    #[test]
    fn what_is_no_plain_file_is_damaged_and_what_is_not_there_is_absent() {
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str| dir.path().join(name);
        fs::create_dir(place("dir")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", place("link")).unwrap();
        fs::write(place("empty"), "").unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            place("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from(0o600),
            0,
        )
        .unwrap();
        for name in ["dir", "link", "empty", "pipe"] {
            assert!(matches!(read(&place(name), NAMES), Err(ReadError::Damaged)), "{name}");
        }
        assert!(matches!(read(&place("none"), NAMES), Err(ReadError::Absent)));
        assert!(matches!(read(&place("empty/below"), NAMES), Err(ReadError::Absent)));
    }

    #[test]
    fn a_failed_write_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let taken = dir.path().join("taken");
        fs::create_dir(&taken).unwrap();
        assert!(write(dir.path(), &taken, NAMES, &[b"x"]).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    proptest! {
        #[test]
        fn a_flipped_bit_or_a_cut_is_found(
            value in prop::collection::vec(any::<u8>(), 0..300), at in any::<prop::sample::Index>(),
            bit in 0..8_u8, cut in any::<bool>(),
        ) {
            let (_dir, path) = written(&[&value]);
            let mut bytes = fs::read(&path).unwrap();
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] ^= 1 << bit }
            fs::write(&path, &bytes).unwrap();
            prop_assert!(matches!(read(&path, NAMES), Err(ReadError::Damaged)));
        }
    }
}
