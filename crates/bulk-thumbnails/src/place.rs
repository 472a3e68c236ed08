//! Where a thumbnail goes.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::tally::Outcome;

/// The file of a thumbnail: the name of the image with `.jpg` after all of it, so that `a.dcm` and `a.ima`
/// have one each.
#[derive(Debug)]
pub(crate) struct Place(PathBuf);

impl Place {
    /// The place of an image of this name, below the folder of thumbnails.
    pub(crate) fn new(out: &Path, name: &Path) -> Self {
        Self(out.join(with(name, ".jpg")))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Whether it is there, and newer than an image that was changed then.
    pub(crate) fn is_newer_than(&self, image: Option<SystemTime>) -> bool {
        let Ok(here) = fs::metadata(&self.0) else { return false };
        let written = here.modified().ok();
        here.is_file() && here.len() > 0 && image.is_some() && written >= image
    }

    /// Writes the thumbnail: whole, or not at all.
    pub(crate) fn write(&self, picture: &[u8], is_card: bool) -> Outcome {
        let written = self.write_beside(picture);
        match written {
            Ok(()) if is_card => Outcome::Card,
            Ok(()) => Outcome::Drawn,
            Err(error) => Outcome::not_written(&error),
        }
    }

    fn write_beside(&self, picture: &[u8]) -> io::Result<()> {
        if let Some(folder) = self.0.parent() {
            fs::create_dir_all(folder)?;
        }
        let part = with(&self.0, ".part");
        let written = fs::write(&part, picture).and_then(|()| fs::rename(&part, &self.0));
        if written.is_err() {
            // There may be none to remove.
            let _ = fs::remove_file(&part);
        }
        written
    }
}

fn with(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_thumbnail_is_whole_and_what_is_newer_is_known() {
        let out = tempfile::tempdir().unwrap();
        let place = Place::new(out.path(), Path::new("a/b.dcm"));
        assert_eq!(place.path(), out.path().join("a/b.dcm.jpg"));
        assert!(!place.is_newer_than(Some(SystemTime::UNIX_EPOCH)));
        assert!(matches!(place.write(b"picture", false), Outcome::Drawn));
        assert!(place.is_newer_than(Some(SystemTime::UNIX_EPOCH)));
        assert!(!place.is_newer_than(Some(SystemTime::now() + Duration::from_secs(60))));
        assert!(!place.is_newer_than(None));
        let names: Vec<_> = fs::read_dir(out.path().join("a")).unwrap().flatten().collect();
        assert_eq!(names.len(), 1);
    }

    #[test]
    fn where_nothing_can_be_written_that_is_the_outcome() {
        let out = tempfile::tempdir().unwrap();
        fs::create_dir(out.path().join("a.jpg")).unwrap();
        let place = Place::new(out.path(), Path::new("a"));
        assert!(matches!(place.write(b"picture", true), Outcome::Failed { .. }));
        assert!(!place.is_newer_than(Some(SystemTime::UNIX_EPOCH)));
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1);
    }
}
