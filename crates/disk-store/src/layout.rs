//! Names: where a group and a file of it lie.
//!
//! Names are hashes salted with what only this directory knows, so that none can be tied to an
//! identifier by trying all that there are.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::Digest;

/// Half of a salted hash, which is more than enough to tell things apart.
pub(crate) type Id = [u8; 16];

const SALT: &str = "salt";

#[derive(Debug)]
pub(crate) struct Layout {
    root: PathBuf,
    salt: [u8; 32],
    /// While the salt is written.
    writing: Mutex<()>,
}

impl Layout {
    /// Of a directory, which is made if it is not there.
    ///
    /// # Errors
    /// It cannot be used.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        make(dir)?;
        let root = dir.join("v1");
        let salt = match read_salt(&dir.join(SALT))? {
            Some(salt) => salt,
            None => {
                // Nothing that was kept under another salt will ever be found.
                if root.is_dir() {
                    tracing::warn!(
                        "the salt of a cache is lost or damaged: what it kept is removed"
                    );
                }
                remove_all(&root)?;
                new_salt(dir)?
            }
        };
        make(&root)?;
        Ok(Self { root, salt, writing: Mutex::new(()) })
    }

    /// Writes the salt anew where it was taken away: without it nothing would be found after a restart.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn keep_salt(&self) -> io::Result<()> {
        let dir = self.root.parent().unwrap_or(&self.root);
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if fs::symlink_metadata(dir.join(SALT)).is_ok() {
            return Ok(());
        }
        make(dir)?;
        write_salt(dir, self.salt).map(drop)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn group(&self, group: &Digest) -> Id {
        self.salted(&[b"group", group])
    }

    pub(crate) fn key(&self, group: &Digest, key: &Digest) -> Id {
        self.salted(&[b"key", group, key])
    }

    fn salted(&self, parts: &[&[u8]]) -> Id {
        let mut hash = Sha256::new();
        hash.update(self.salt);
        parts.iter().for_each(|part| hash.update(part));
        let digest = hash.finalize();
        std::array::from_fn(|place| digest[place])
    }

    /// `v1/ab/cdef…`.
    pub(crate) fn group_dir(&self, group: &Id) -> PathBuf {
        let name = hex(group);
        self.root.join(&name[..2]).join(&name[2..])
    }

    pub(crate) fn file(&self, group: &Id, key: &Id) -> PathBuf {
        self.group_dir(group).join(hex(key))
    }
}

/// Makes a directory for this user alone, and those that it lies in.
pub(crate) fn make(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    // Not where the umask, or whoever made it before, has it otherwise.
    if fs::symlink_metadata(dir)?.permissions().mode() & 0o777 != 0o700 {
        fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Removes a directory with all that is in it; fine where there is none.
pub(crate) fn remove_all(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // A link or a file in its place.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => fs::remove_file(dir),
        other => other,
    }
}

/// Names are lower-case hexadecimal; `None` of what is not one of ours.
pub(crate) fn id_of(name: &str) -> Option<Id> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if name.len() != 32 || !name.bytes().all(is_digit) {
        return None;
    }
    let mut id = Id::default();
    for (byte, digits) in id.iter_mut().zip(name.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(id)
}

fn hex(id: &Id) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `None` where there is none, or one that is damaged.
fn read_salt(path: &Path) -> io::Result<Option<[u8; 32]>> {
    let mut bytes = Vec::new();
    match fs::File::open(path) {
        Ok(file) => drop(file.take(100).read_to_end(&mut bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let Some((salt, check)) = bytes.split_first_chunk::<32>() else { return Ok(None) };
    Ok((*check == checksum(salt)).then_some(*salt))
}

/// Makes one, unless another process has just done so.
fn new_salt(dir: &Path) -> io::Result<[u8; 32]> {
    let mut salt = [0; 32];
    fs::File::open("/dev/urandom")?.read_exact(&mut salt)?;
    write_salt(dir, salt)
}

/// Writes it, unless there is one: the one that is there.
fn write_salt(dir: &Path, salt: [u8; 32]) -> io::Result<[u8; 32]> {
    let aside = dir.join(format!(".salt-{}", std::process::id()));
    let place = dir.join(SALT);
    let _ = fs::remove_file(&aside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    file.write_all(&[&salt[..], &checksum(&salt)].concat())?;
    if read_salt(&place)?.is_none() {
        let _ = fs::remove_file(&place);
    }
    let linked = fs::hard_link(&aside, &place);
    let _ = fs::remove_file(&aside);
    match linked {
        Ok(()) => Ok(salt),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            read_salt(&place)?.ok_or(error)
        }
        Err(error) => Err(error),
    }
}

fn checksum(salt: &[u8; 32]) -> [u8; 16] {
    let digest = Sha256::digest(salt);
    std::array::from_fn(|place| digest[place])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_between_directories_and_stay_within_one() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (one, two) = (Layout::open(a.path()).unwrap(), Layout::open(b.path()).unwrap());
        let again = Layout::open(a.path()).unwrap();
        assert_eq!(one.group(&[1; 32]), again.group(&[1; 32]));
        assert_ne!(one.group(&[1; 32]), two.group(&[1; 32]));
        assert_ne!(one.key(&[1; 32], &[2; 32]), one.key(&[3; 32], &[2; 32]));
        assert_ne!(one.group(&[1; 32]), one.group(&[2; 32]));
    }

    #[test]
    fn names_are_read_back() {
        let id: Id = std::array::from_fn(|n| (n * 17) as u8);
        assert_eq!(id_of(&hex(&id)), Some(id));
        for name in ["", "salt", &"g".repeat(32), &"A".repeat(32), &"a".repeat(31)] {
            assert_eq!(id_of(name), None, "{name}");
        }
    }

    #[test]
    fn a_damaged_salt_is_replaced_and_what_it_named_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let before = Layout::open(dir.path()).unwrap();
        let there = before.group_dir(&before.group(&[1; 32]));
        make(&there).unwrap();
        for damage in [&b""[..], b"short", &[7; 48]] {
            fs::write(dir.path().join(SALT), damage).unwrap();
            let after = Layout::open(dir.path()).unwrap();
            assert_ne!(after.salt, before.salt);
            assert!(!there.exists());
        }
    }

    #[test]
    fn directories_are_for_this_user_alone() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("a/b");
        make(&inner).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&inner), 0o700);
        fs::set_permissions(&inner, Permissions::from_mode(0o755)).unwrap();
        make(&inner).unwrap();
        assert_eq!(mode(&inner), 0o700);
    }
}
