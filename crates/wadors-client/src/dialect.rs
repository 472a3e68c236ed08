//! How an archive wants to be asked.
//!
//! Servers refuse spellings of `Accept` that the standard allows. So each kind of call has a ladder of
//! them, the best first; an archive that refuses one with 400, 406 or 415 is asked in the next, and the
//! rung that worked is remembered.
//!
//! A refusal may be about the object, too: archives say 400 of a frame that is not there, and 406 of an
//! object that is too large for them. So the forms that let an archive transcode frames, which costs it
//! much and may be the end of it (Orthanc with GDCM), are left until several objects were refused in all
//! others; what is wanted comes from the whole object until then.

use std::str::FromStr;
use std::sync::Mutex;

use url::Url;

/// A family of archives, for what has to be known before the first call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// Orthanc with its DICOMweb plugin.
    Orthanc,
    /// dcm4chee-arc-light.
    Dcm4chee,
    /// Google Cloud Healthcare API.
    Google,
    /// Azure Health Data Services, and the open source Medical Imaging Server.
    Azure,
    /// AWS HealthImaging.
    Aws,
    /// Any other.
    Generic,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Orthanc, Self::Dcm4chee, Self::Google, Self::Azure, Self::Aws, Self::Generic];

    /// Its name in configurations.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Orthanc => "orthanc",
            Self::Dcm4chee => "dcm4chee",
            Self::Google => "google",
            Self::Azure => "azure",
            Self::Aws => "aws",
            Self::Generic => "generic",
        }
    }

    /// What the base URL tells: the hosts of clouds, the paths of dcm4chee.
    pub fn of_url(base: &Url) -> Option<Self> {
        let host = base.host_str().unwrap_or_default();
        let path = base.path();
        if host.ends_with("healthcare.googleapis.com") || path.contains("/dicomStores/") {
            Some(Self::Google)
        } else if host.ends_with(".dicom.azurehealthcareapis.com") {
            Some(Self::Azure)
        } else if host.contains("medical-imaging.") && host.ends_with(".amazonaws.com") {
            Some(Self::Aws)
        } else if path.contains("/aets/") || path.starts_with("/dcm4chee-arc") {
            Some(Self::Dcm4chee)
        } else {
            None
        }
    }

    /// Results of a search asked for at once. Azure refuses more than 200.
    pub(crate) fn page(self) -> usize {
        match self {
            Self::Orthanc | Self::Dcm4chee | Self::Google | Self::Aws => 1000,
            Self::Azure | Self::Generic => 200,
        }
    }
}

impl FromStr for Dialect {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|dialect| dialect.as_str() == text)
            .ok_or("must be orthanc, dcm4chee, google, azure, aws or generic")
    }
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// A whole object.
    Instance,
    /// Pixel data of a frame.
    Frame,
    /// A value by its URI.
    Bulk,
    /// A search, or metadata.
    Json,
}

impl Call {
    const COUNT: usize = 4;

    /// The forms of `Accept`, in the order in which they are tried. `transfer-syntax=*` first: the archive must not transcode for us (PS3.18
    /// §8.7.3.5.2).
    pub fn rungs(self) -> &'static [&'static str] {
        match self {
            Self::Instance => &[
                r#"multipart/related; type="application/dicom"; transfer-syntax=*"#,
                "multipart/related; type=application/dicom; transfer-syntax=*",
                "application/dicom; transfer-syntax=*",
                r#"multipart/related; type="application/dicom""#,
                "application/dicom",
                "*/*",
            ],
            Self::Frame => &[
                r#"multipart/related; type="application/octet-stream"; transfer-syntax=*"#,
                "multipart/related; type=application/octet-stream; transfer-syntax=*",
                "application/octet-stream; transfer-syntax=*",
                r#"multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1"#,
                r#"multipart/related; type="application/octet-stream""#,
                "*/*",
            ],
            Self::Bulk => &[
                r#"multipart/related; type="application/octet-stream"; transfer-syntax=*"#,
                r#"multipart/related; type="application/octet-stream""#,
                "multipart/related; type=application/octet-stream",
                "application/octet-stream",
                "*/*",
            ],
            Self::Json => &["application/dicom+json", "application/json", "*/*"],
        }
    }

    /// How many of the forms, from the first, cost an archive no more than the best. The others let it
    /// transcode, of which some archives die.
    pub fn cheap(self) -> usize {
        match self {
            Self::Frame => 3,
            // There is nothing else to turn to.
            Self::Instance | Self::Bulk | Self::Json => self.rungs().len(),
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Instance => 0,
            Self::Frame => 1,
            Self::Bulk => 2,
            Self::Json => 3,
        }
    }
}

/// Objects refused in a row before the forms are tried that cost an archive more.
const PATIENCE: u32 = 3;

/// Objects refused in a row after which a rung that worked is doubted. Twice as many each time that no
/// other worked either: then it is the objects.
const DOUBT: u32 = 12;

/// The rungs that worked.
#[derive(Debug)]
pub(crate) struct Ladders {
    ladders: Mutex<[Ladder; Call::COUNT]>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Ladder {
    /// The rung that worked last.
    proven: Option<usize>,
    /// Objects refused in a row since.
    refusals: u32,
    /// How many of them are taken to be about the objects.
    doubt: u32,
}

impl Default for Ladders {
    fn default() -> Self {
        let ladder = Ladder { proven: None, refusals: 0, doubt: DOUBT };
        Self { ladders: Mutex::new([ladder; Call::COUNT]) }
    }
}

impl Ladders {
    /// The rungs to try, in this order.
    pub(crate) fn rungs(&self, call: Call) -> std::ops::Range<usize> {
        let ladder = self.lock()[call.index()];
        match ladder.proven {
            Some(rung) if ladder.refusals < ladder.doubt => rung..rung + 1,
            None if ladder.refusals < PATIENCE => 0..call.cheap(),
            Some(_) | None => 0..call.rungs().len(),
        }
    }

    /// It was answered.
    pub(crate) fn worked(&self, call: Call, rung: usize) {
        self.lock()[call.index()] = Ladder { proven: Some(rung), refusals: 0, doubt: DOUBT };
    }

    /// It was refused in each of so many forms.
    pub(crate) fn refused(&self, call: Call, tried: usize) {
        let mut ladders = self.lock();
        let ladder = &mut ladders[call.index()];
        ladder.refusals += 1;
        if tried == call.rungs().len() && ladder.refusals >= PATIENCE {
            *ladder = Ladder {
                proven: Some(ladder.proven.unwrap_or(0)),
                refusals: 0,
                doubt: ladder.doubt.saturating_mul(2),
            };
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, [Ladder; Call::COUNT]> {
        self.ladders.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Refuses a call in all forms that are tried; how many that were.
    fn refuse(ladders: &Ladders, call: Call) -> usize {
        let tried = ladders.rungs(call).len();
        ladders.refused(call, tried);
        tried
    }

    #[test]
    fn the_rung_that_worked_is_remembered_until_it_is_refused_for_long() {
        let ladders = Ladders::default();
        assert_eq!(ladders.rungs(Call::Json), 0..3);
        refuse(&ladders, Call::Json);
        assert_eq!(ladders.rungs(Call::Json), 0..3);
        ladders.worked(Call::Json, 1);
        for _ in 0..DOUBT {
            assert_eq!(ladders.rungs(Call::Json), 1..2);
            refuse(&ladders, Call::Json);
        }
        assert_eq!(ladders.rungs(Call::Json), 0..3);
        ladders.worked(Call::Json, 2);
        assert_eq!(ladders.rungs(Call::Json), 2..3);
    }

    #[test]
    fn objects_that_no_form_helps_are_not_asked_for_in_every_form_each_time() {
        let ladders = Ladders::default();
        let calls: usize = (0..100).map(|_| refuse(&ladders, Call::Frame)).sum();
        assert!(calls < 130, "{calls}");
    }

    #[test]
    fn a_success_wipes_out_refusals_before_it() {
        let ladders = Ladders::default();
        for _ in 0..5 {
            ladders.worked(Call::Json, 0);
            for _ in 1..DOUBT {
                refuse(&ladders, Call::Json);
            }
        }
        assert_eq!(ladders.rungs(Call::Json), 0..1);
    }

    #[test]
    fn forms_that_make_an_archive_transcode_frames_come_last_and_late() {
        let ladders = Ladders::default();
        for _ in 0..PATIENCE {
            assert!(
                Call::Frame.rungs()[ladders.rungs(Call::Frame)]
                    .iter()
                    .all(|form| form.ends_with("=*"))
            );
            refuse(&ladders, Call::Frame);
        }
        assert_eq!(ladders.rungs(Call::Frame), 0..Call::Frame.rungs().len());
    }

    #[test]
    fn base_urls_tell_clouds_and_dcm4chee() {
        for (base, dialect) in [
            (
                "https://healthcare.googleapis.com/v1/projects/p/locations/l/datasets/d/dicomStores/s/dicomWeb",
                Some(Dialect::Google),
            ),
            ("https://ws-dicom.dicom.azurehealthcareapis.com/v2", Some(Dialect::Azure)),
            (
                "https://dicom-medical-imaging.us-east-1.amazonaws.com/datastore/0123",
                Some(Dialect::Aws),
            ),
            ("http://pacs:8080/dcm4chee-arc/aets/DCM4CHEE/rs", Some(Dialect::Dcm4chee)),
            ("http://127.0.0.1:8042/dicom-web", None),
            ("https://evil.example/?healthcare.googleapis.com", None),
        ] {
            assert_eq!(Dialect::of_url(&base.parse().unwrap()), dialect, "{base}");
        }
    }

    #[test]
    fn dialects_are_read_as_they_are_written() {
        for dialect in Dialect::ALL {
            assert_eq!(dialect.as_str().parse(), Ok(dialect));
        }
        assert!("PACS".parse::<Dialect>().is_err());
    }
}
