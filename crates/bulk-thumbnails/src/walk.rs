//! The files there are, one after the other, and the names of their thumbnails.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::ReadDir;
use std::io;
use std::path::{Path, PathBuf};

use core_render::Limits;

use crate::BulkError;
use crate::dicomdir;

/// A file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Found {
    /// Where it is.
    pub(crate) file: PathBuf,
    /// What it is called among all that are found: a path of names alone.
    pub(crate) name: PathBuf,
    /// Whether somebody says that it is DICOM, and not only that it lies there.
    pub(crate) is_named: bool,
}

/// A folder that cannot be read.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) path: PathBuf,
    pub(crate) error: io::Error,
}

/// Paths that are there, in the order they were given in.
#[derive(Clone, Debug)]
pub(crate) struct Roots(Vec<Root>);

/// Goes through roots one after the other, and through folders as they come.
///
/// Links within folders are not followed: they could lead out of them, or round in circles.
#[derive(Debug)]
pub(crate) struct Walk {
    roots: std::vec::IntoIter<Root>,
    root: Option<Under>,
    /// Not gone through: the thumbnails themselves.
    out: PathBuf,
    limits: Limits,
}

#[derive(Clone, Debug)]
struct Root {
    path: PathBuf,
    /// What precedes the names of its files.
    label: PathBuf,
}

/// What is left of a root.
#[derive(Debug)]
enum Under {
    File(Option<Found>),
    Folders(Vec<Folder>),
    Listed(std::vec::IntoIter<Found>),
}

#[derive(Debug)]
struct Folder {
    entries: ReadDir,
    name: PathBuf,
}

type Item = Result<Found, Unreadable>;

impl Roots {
    /// # Errors
    /// A path that is not there.
    pub(crate) fn of(paths: &[PathBuf]) -> Result<Self, BulkError> {
        let (mut labels, mut roots) = (Labels::default(), Vec::new());
        for path in paths {
            let failed = |error| BulkError::Path { path: path.clone(), error };
            let is_folder = std::fs::metadata(path).map_err(failed)?.is_dir();
            let is_alone = paths.len() == 1 && (is_folder || is_dicomdir(path));
            let label = if is_alone { PathBuf::new() } else { labels.of(path) };
            roots.push(Root { path: path.clone(), label });
        }
        Ok(Self(roots))
    }

    /// What is found under them, beside the folder `out`, which is absolute.
    pub(crate) fn walk(self, out: &Path, limits: &Limits) -> Walk {
        Walk { roots: self.0.into_iter(), root: None, out: out.to_owned(), limits: *limits }
    }
}

impl Walk {
    fn open(&self, root: Root) -> Result<Under, Unreadable> {
        let Root { path, label } = root;
        if path.is_dir() {
            return match std::fs::read_dir(&path) {
                Ok(entries) => Ok(Under::Folders(vec![Folder { entries, name: label }])),
                Err(error) => Err(Unreadable { path, error }),
            };
        }
        let named = if is_dicomdir(&path) { dicomdir::files_of(&path, &self.limits) } else { None };
        if let Some(files) = named {
            let folder = path.parent().unwrap_or(Path::new(""));
            let found = |name: PathBuf| Found {
                file: dicomdir::found_below(folder, &name),
                name: label.join(name),
                is_named: true,
            };
            let found: Vec<Found> = files.into_iter().map(found).collect();
            return Ok(Under::Listed(found.into_iter()));
        }
        Ok(Under::File(Some(Found { file: path, name: label, is_named: true })))
    }

    /// The next of the folders under way, the innermost first.
    fn next_in(&self, folders: &mut Vec<Folder>) -> Option<Item> {
        loop {
            let folder = folders.last_mut()?;
            let Some(entry) = folder.entries.next() else {
                folders.pop();
                continue;
            };
            // What vanishes meanwhile was not there.
            let Ok(entry) = entry else { continue };
            let Ok(kind) = entry.file_type() else { continue };
            let (path, name) = (entry.path(), folder.name.join(entry.file_name()));
            if kind.is_file() && !is_dicomdir(&path) {
                return Some(Ok(Found { file: path, name, is_named: false }));
            }
            if kind.is_dir() && !self.is_out(&path) {
                match std::fs::read_dir(&path) {
                    Ok(entries) => folders.push(Folder { entries, name }),
                    Err(error) => return Some(Err(Unreadable { path, error })),
                }
            }
        }
    }

    fn is_out(&self, path: &Path) -> bool {
        path.file_name() == self.out.file_name()
            && path.canonicalize().is_ok_and(|path| path == self.out)
    }
}

impl Iterator for Walk {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        loop {
            let found = match self.root.take() {
                None => None,
                Some(Under::File(found)) => found.map(Ok),
                Some(Under::Listed(mut files)) => {
                    let found = files.next();
                    self.root = Some(Under::Listed(files));
                    found.map(Ok)
                }
                Some(Under::Folders(mut folders)) => {
                    let found = self.next_in(&mut folders);
                    self.root = Some(Under::Folders(folders));
                    found
                }
            };
            if found.is_some() {
                return found;
            }
            let root = self.roots.next()?;
            match self.open(root) {
                Ok(under) => self.root = Some(under),
                Err(unreadable) => return Some(Err(unreadable)),
            }
        }
    }
}

fn is_dicomdir(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.eq_ignore_ascii_case(dicomdir::NAME))
}

/// One label for each of several roots: its own name, with a number where that is taken.
#[derive(Default)]
struct Labels(HashSet<OsString>);

impl Labels {
    fn of(&mut self, path: &Path) -> PathBuf {
        let wanted = own_name(path);
        let mut label = wanted.clone();
        for number in 2_u64.. {
            if self.0.insert(label.clone()) {
                break;
            }
            label = wanted.clone();
            label.push(format!("-{number}"));
        }
        label.into()
    }
}

/// The last name in a path; of a DICOMDIR the folder's. Of `.` and `..` it takes a look where they lead.
fn own_name(path: &Path) -> OsString {
    let path = if is_dicomdir(path) { path.parent().unwrap_or(path) } else { path };
    let named = path.file_name().map(OsStr::to_owned);
    let led_to = || path.canonicalize().ok()?.file_name().map(OsStr::to_owned);
    named.or_else(led_to).unwrap_or_else(|| OsString::from("root"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in ["a/1", "a/b/2", "c/1", "out/old.jpg", "DICOMDIR"] {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        dir
    }

    fn names(dir: &Path, paths: &[&str]) -> Vec<String> {
        let out = dir.join("out").canonicalize().unwrap();
        let paths: Vec<PathBuf> = paths.iter().map(|path| dir.join(path)).collect();
        let walk = Roots::of(&paths).unwrap().walk(&out, &Limits::default());
        let mut names: Vec<String> =
            walk.map(|found| found.unwrap().name.to_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn names_keep_the_structure_of_the_folder() {
        let dir = tree();
        assert_eq!(names(dir.path(), &["."]), ["a/1", "a/b/2", "c/1"]);
        assert_eq!(names(dir.path(), &["a"]), ["1", "b/2"]);
    }

    #[test]
    fn several_paths_have_names_of_their_own() {
        let dir = tree();
        assert_eq!(names(dir.path(), &["a", "c"]), ["a/1", "a/b/2", "c/1"]);
        assert_eq!(names(dir.path(), &["a/1"]), ["1"]);
        assert_eq!(names(dir.path(), &["a/1", "c/1", "a/b/2"]), ["1", "1-2", "2"]);
        assert_eq!(names(dir.path(), &["a", "a/."]), ["a-2/1", "a-2/b/2", "a/1", "a/b/2"]);
    }

    #[test]
    fn a_path_that_is_not_there_is_an_error() {
        let dir = tree();
        let paths = [dir.path().join("a"), dir.path().join("nowhere")];
        let error = Roots::of(&paths).unwrap_err();
        assert!(error.to_string().contains("nowhere"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn links_in_folders_are_not_followed() {
        let dir = tree();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("a/loop")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("a/link")).unwrap();
        assert_eq!(names(dir.path(), &["a"]), ["1", "b/2"]);
        // One that is named is meant.
        assert_eq!(names(dir.path(), &["a/link"]), ["link"]);
    }
}
