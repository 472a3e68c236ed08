//! Real clients in front of a real Orthanc: PyPI's and npm's `dicomweb-client` make every call for a
//! rendering or a thumbnail that they have, and what their caller gets is what was asked for.
//!
//! What is called stands here; `tests/clients` holds what makes the calls, and Pillow's eye on the
//! pictures. Calls that a library gets wrong itself are named with the reason, and must fail just so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use folder_origin::{FolderOrigin, samples};
use lightbox_tests::{Corpus, Orthanc, Proxy, skip};
use serde::Deserialize;
use serde_json::{Value, json};

use Library::{JavaScript, Python};
use Resource::{Frames, FramesThumbnail, Instance, Series, Thumbnail};

const PART: &str = "client libraries in front of a real Orthanc";

#[tokio::test(flavor = "multi_thread")]
async fn client_libraries_get_what_they_ask_for() {
    let clients = match Clients::find() {
        Ok(clients) => clients,
        Err(why) => return skip(PART, &why),
    };
    let mut orthanc = match Orthanc::start().await {
        Ok(orthanc) => orthanc,
        Err(why) => return skip(PART, &why),
    };
    let objects = Objects::store_in(&mut orthanc).await;
    let proxy = Proxy::start(&orthanc.url()).await;
    let calls = calls(&objects, &proxy.url());
    let outcomes = clients.make(&calls, &proxy.url());
    print(&calls, &outcomes);
    let complaints: Vec<String> = calls
        .iter()
        .zip(&outcomes)
        .filter_map(|(call, outcome)| complaint(call, outcome))
        .collect();
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
    everything_that_changes_a_picture_does(&calls, &outcomes);
}

// What is called ------------------------------------------------------------------------------------

/// A library.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Library {
    /// PyPI's `dicomweb-client`.
    Python,
    /// npm's `dicomweb-client`.
    JavaScript,
}

/// One call of a library.
struct Call {
    library: Library,
    function: &'static str,
    /// What goes to `calls.py` or `calls.js`.
    line: Value,
    /// For people.
    asked: String,
    expected: Expected,
    /// Whether the picture must differ from what the same call gives without parameters.
    changes: bool,
}

/// What is to come of a call.
#[derive(Clone, Copy)]
enum Expected {
    /// This, as [`Outcome`] writes it.
    Is(&'static str),
    /// An error with this status: there is nothing of that kind to send.
    Refused(u16),
    /// The library fails by itself and says this.
    Mistake { says: &'static str, reason: &'static str },
}

/// The resources of which a library has a call.
#[derive(Clone, Copy)]
enum Resource {
    Series,
    Instance,
    Thumbnail,
    Frames(&'static [u32]),
    FramesThumbnail(&'static [u32]),
}

/// What is asked for, whatever the library.
struct Ask<'a> {
    resource: Resource,
    of: &'a Object,
    /// Media types; none if empty.
    types: &'a [&'static str],
    /// Query parameters, as in a URL but not encoded.
    params: &'static str,
}

/// Every call.
fn calls(objects: &Objects, base: &str) -> Vec<Call> {
    let mut table = Table::default();
    pictures(&mut table, &objects.slice);
    series(&mut table, objects);
    frames(&mut table, &objects.multi_frame);
    colour(&mut table, &objects.clip);
    reports(&mut table, &objects.report);
    documents(&mut table, &objects.document);
    if let Some(video) = &objects.video {
        videos(&mut table, video);
    }
    bulk_data(&mut table, objects, base);
    table.calls
}

/// A CT slice, 512 × 512.
fn pictures(table: &mut Table, slice: &Object) {
    let whole: [(&[&'static str], &'static str); 7] = [
        (&[], "image/jpeg 512x512"),
        (&["image/jpeg"], "image/jpeg 512x512"),
        (&["image/png"], "image/png 512x512"),
        (&["image/gif"], "image/gif 512x512"),
        (&["image/jp2"], "image/jp2 512x512"),
        (&["image/*"], "image/jpeg 512x512"),
        (&["image/jp2", "image/png", "image/jpeg"], "image/jpeg 512x512"),
    ];
    for (types, expected) in whole {
        table.both(Instance, slice, types, "", expected);
        table.both(Frames(&[1]), slice, types, "", expected);
    }
    for resource in [Instance, Frames(&[1])] {
        table.add(resource, slice, &["image/png", "image/gif"], "", |library| match library {
            Python => Expected::Mistake {
                says: "image/jpeg 512x512",
                reason: "takes several types of one kind for several kinds, and sends `Accept: */*`",
            },
            JavaScript => Expected::Is("image/png 512x512"),
        });
    }
    let small: [(&[&'static str], &'static str); 5] = [
        (&[], "image/jpeg 256x256"),
        (&["image/jpeg"], "image/jpeg 256x256"),
        (&["image/png"], "image/png 256x256"),
        (&["image/gif"], "image/gif 256x256"),
        (&["image/jp2"], "image/jp2 256x256"),
    ];
    for (types, expected) in small {
        table.both(Thumbnail, slice, types, "", expected);
        table.both(FramesThumbnail(&[1]), slice, types, "", expected);
    }
    let changed: [(&'static str, &'static str); 7] = [
        ("viewport=128,128", "image/jpeg 128x128"),
        ("viewport=300,100", "image/jpeg 100x100"),
        ("viewport=64,64,128,128,256,128", "image/jpeg 64x32"),
        ("window=600,2000,linear", "image/jpeg 512x512"),
        ("window=600,2000,linear-exact&viewport=128,128&quality=50", "image/jpeg 128x128"),
        ("quality=10", "image/jpeg 512x512"),
        ("annotation=patient,technique", "image/jpeg 512x512"),
    ];
    for (params, expected) in changed {
        for types in [&[][..], &["image/jpeg"]] {
            table.changed(Instance, slice, types, params, expected);
            table.changed(Frames(&[1]), slice, types, params, expected);
        }
    }
    for types in [&[][..], &["image/jpeg"]] {
        table.changed(Thumbnail, slice, types, "viewport=64,64", "image/jpeg 64x64");
        table.changed(FramesThumbnail(&[1]), slice, types, "viewport=64,64", "image/jpeg 64x64");
        table.both(Instance, slice, types, "charset=utf-8", "image/jpeg 512x512");
    }
    table.both(Instance, slice, &[], "accept=image/png", "image/png 512x512");
    // Kinds of things that an image is not.
    for types in [&["text/html"], &["video/mp4"]] {
        table.add(Instance, slice, types, "", |_| Expected::Refused(406));
    }
    table.add(Instance, slice, &["application/pdf"], "", |library| match library {
        Python => Expected::Refused(406),
        JavaScript => NO_PDF,
    });
    // Both hold "image/" to be a media type. As a header it is none, and what cannot be read is ignored.
    table.both(Instance, slice, &["image/"], "", "image/jpeg 512x512");
}

/// Series and what is in them; only Python has a call for it.
fn series(table: &mut Table, objects: &Objects) {
    let slices: [(&[&'static str], &'static str, &'static str); 8] = [
        (&[], "", "24 x image/jpeg 512x512"),
        (&["image/jpeg"], "", "image/jpeg 512x512"),
        (&["image/png"], "", "image/png 512x512"),
        (&["image/gif"], "", "image/gif 512x512"),
        (&["image/jp2"], "", "image/jp2 512x512"),
        (&["image/*"], "", "image/jpeg 512x512"),
        (&[], "viewport=64,64", "24 x image/jpeg 64x64"),
        (&["image/png"], "viewport=64,64&window=40,80,linear", "image/png 64x64"),
    ];
    for (types, params, expected) in slices {
        table.both(Series, &objects.slice, types, params, expected);
    }
    let frames = &objects.multi_frame;
    table.both(Series, frames, &[], "", "16 x image/jpeg 256x256");
    table.both(Series, frames, &["image/png"], "", "image/png 256x256");
    table.both(Series, &objects.report, &[], "", "text/html");
    table.both(Series, &objects.document, &[], "", "application/pdf");
    // Alone in its series, it is what was asked for.
    table.both(Series, &objects.report, &["text/html"], "", "text/html");
    table.both(Series, &objects.report, &["text/plain"], "", "text/plain");
    table.both(Series, &objects.document, &["application/pdf"], "", "application/pdf");
    table.add(Series, &objects.slice, &["video/mp4"], "", |_| Expected::Refused(406));
    table.add(Series, &objects.slice, &["text/html"], "", |_| Expected::Refused(406));
}

/// An Enhanced MR of 16 frames, 256 × 256.
fn frames(table: &mut Table, object: &Object) {
    let instance: [(&[&'static str], &'static str, &'static str); 8] = [
        (&[], "", "16 x image/jpeg 256x256"),
        (&["image/jpeg"], "", "image/jpeg 256x256"),
        (&["image/png"], "", "image/png 256x256"),
        (&["image/gif"], "", "image/gif 256x256 16 frames"),
        (&["image/jp2"], "", "image/jp2 256x256"),
        (&["image/*"], "", "image/jpeg 256x256"),
        (&[], "viewport=64,64", "16 x image/jpeg 64x64"),
        (&["image/gif"], "viewport=64,64", "image/gif 64x64 16 frames"),
    ];
    for (types, params, expected) in instance {
        table.both(Instance, object, types, params, expected);
    }
    let one: [(&[&'static str], &'static str, &'static str); 4] = [
        (&[], "", "image/jpeg 256x256"),
        (&["image/png"], "", "image/png 256x256"),
        (&["image/gif"], "", "image/gif 256x256"),
        (&[], "viewport=64,64", "image/jpeg 64x64"),
    ];
    for (types, params, expected) in one {
        table.both(Frames(&[3]), object, types, params, expected);
    }
    let three: [(&[&'static str], &'static str, &'static str); 6] = [
        (&[], "", "3 x image/jpeg 256x256"),
        (&["image/jpeg"], "", "image/jpeg 256x256"),
        (&["image/png"], "", "image/png 256x256"),
        (&["image/gif"], "", "image/gif 256x256 3 frames"),
        (&[], "viewport=64,64", "3 x image/jpeg 64x64"),
        (&["image/png"], "viewport=64,64", "image/png 64x64"),
    ];
    for (types, params, expected) in three {
        table.both(Frames(&[1, 5, 9]), object, types, params, expected);
    }
    for thumbnail in [Thumbnail, FramesThumbnail(&[3]), FramesThumbnail(&[1, 5, 9])] {
        table.both(thumbnail, object, &[], "", "image/jpeg 256x256");
        table.both(thumbnail, object, &["image/png"], "viewport=64,64", "image/png 64x64");
    }
    for frames in [Frames(&[99]), FramesThumbnail(&[99])] {
        table.add(frames, object, &["image/jpeg"], "", |_| Expected::Refused(404));
    }
}

/// A colour ultrasound clip of 20 frames, 640 × 480.
fn colour(table: &mut Table, clip: &Object) {
    table.both(Instance, clip, &[], "viewport=160,160", "20 x image/jpeg 160x120");
    table.both(Instance, clip, &["image/jpeg"], "", "image/jpeg 640x480");
    table.both(Instance, clip, &["image/png"], "", "image/png 640x480");
    table.both(Thumbnail, clip, &[], "", "image/jpeg 256x192");
    table.both(Frames(&[7]), clip, &["image/jpeg"], "", "image/jpeg 640x480");
    for profile in ["iccprofile=srgb", "iccprofile=adobergb"] {
        let expected = "image/jpeg 640x480 with a profile";
        table.changed(Frames(&[7]), clip, &["image/jpeg"], profile, expected);
    }
    table.both(Frames(&[7]), clip, &["image/jpeg"], "iccprofile=no", "image/jpeg 640x480");
    // A window is legal and without effect on colour.
    table.both(Frames(&[7]), clip, &["image/jpeg"], "window=40,80,linear", "image/jpeg 640x480");
    table.add(Frames(&[7]), clip, &["image/gif"], "iccprofile=srgb", |_| Expected::Refused(400));
}

/// A structured report.
fn reports(table: &mut Table, report: &Object) {
    let texts: [(&[&'static str], &'static str); 6] = [
        (&[], "text/html"),
        (&["text/html"], "text/html"),
        (&["text/plain"], "text/plain"),
        (&["text/xml"], "text/xml"),
        (&["text/*"], "text/html"),
        (&["text/"], "text/html"),
    ];
    for (types, expected) in texts {
        table.both(Instance, report, types, "", expected);
    }
    // RTF is optional (PS3.18 Table 8.7.4-1), and a report is no image.
    for types in [&["text/rtf"], &["image/jpeg"]] {
        table.add(Instance, report, types, "", |_| Expected::Refused(406));
    }
    table.both(Thumbnail, report, &[], "", "image/jpeg 256x256");
    table.both(Thumbnail, report, &["image/png"], "viewport=64,64", "image/png 64x64");
    table.add(Frames(&[1]), report, &["image/jpeg"], "", |_| Expected::Refused(404));
}

/// An encapsulated PDF.
fn documents(table: &mut Table, document: &Object) {
    table.both(Instance, document, &[], "", "application/pdf");
    table.add(Instance, document, &["application/pdf"], "", |library| match library {
        Python => Expected::Is("application/pdf"),
        JavaScript => NO_PDF,
    });
    // What is stored is sent; nothing is made of it.
    for types in [&["text/html"], &["image/jpeg"]] {
        table.add(Instance, document, types, "", |_| Expected::Refused(406));
    }
    table.both(Thumbnail, document, &[], "", "image/jpeg 256x256");
    table.both(Thumbnail, document, &["image/gif"], "", "image/gif 256x256");
}

/// H.264, 320 × 240.
fn videos(table: &mut Table, video: &Object) {
    for types in [&[][..], &["video/mp4"], &["video/*"], &["video/"], &["video/mpeg", "video/mp4"]]
    {
        table.both(Instance, video, types, "", "video/mp4");
    }
    for types in [&["video/mpeg"], &["video/H265"]] {
        table.add(Instance, video, types, "", |_| Expected::Refused(406));
    }
    table.both(Instance, video, &["image/jpeg"], "", "image/jpeg 320x240");
    table.both(Thumbnail, video, &[], "", "image/jpeg 256x192");
    for documented in [&["video/gif"], &["video/h265"]] {
        table.add(Instance, video, documented, "", |_| Expected::Mistake {
            says: "is not supported for requested resource",
            reason: "named in Python's documentation; both refuse it before anything is sent",
        });
    }
}

/// What OHIF and others fetch as bulk data though it is a rendering.
fn bulk_data(table: &mut Table, objects: &Objects, base: &str) {
    let slice = &objects.slice;
    let [study, series, instance] =
        [slice.study(), slice.series(), slice.instance()].map(|path| format!("{base}{path}"));
    let small = "image/jpeg 256x256";
    let whole = "image/jpeg 512x512";
    for (url, expected) in [
        (format!("{instance}/thumbnail?accept=image%2Fjpeg"), small),
        (format!("{instance}/thumbnail?accept=image/jpeg"), small),
        (format!("{instance}/thumbnail?viewport=256%2C256"), small),
        (format!("{instance}/thumbnail"), small),
        (format!("{series}/thumbnail?accept=image%2Fjpeg"), small),
        (format!("{study}/thumbnail?accept=image%2Fjpeg"), small),
        (format!("{instance}/rendered?accept=image%2Fjpeg"), whole),
        (format!("{series}/rendered?accept=image%2Fjpeg"), whole),
        (format!("{study}/rendered?accept=image%2Fjpeg"), whole),
    ] {
        for singlepart in ["", "bulkdata"] {
            table.bulk(&url, json!({"BulkDataURI": url}), singlepart, expected);
        }
    }
    let types = json!([{"mediaType": "image/jpeg"}]);
    let url = format!("{instance}/rendered");
    table.bulk(&url, json!({"BulkDataURI": url, "mediaTypes": types}), "", whole);
    let url = format!("{series}/rendered");
    let all = "24 x image/jpeg 512x512";
    table.bulk(&url, json!({"BulkDataURI": url, "mediaTypes": types}), "", all);
    for (url, expected) in [(format!("{instance}/rendered"), whole), (url, all)] {
        table.calls.push(Call {
            library: Python,
            function: "retrieve_bulkdata",
            line: json!({
                "function": "retrieve_bulkdata",
                "arguments": {"url": url, "media_types": ["image/jpeg"]},
            }),
            asked: format!("{} as image/jpeg", tail(&url)),
            expected: Expected::Is(expected),
            changes: false,
        });
    }
}

const NO_PDF: Expected = Expected::Mistake {
    says: "Media type application/ is not supported",
    reason: "cuts application/pdf down to application/ before it looks for it",
};

/// The calls so far.
#[derive(Default)]
struct Table {
    calls: Vec<Call>,
}

impl Table {
    /// One call of each library that has it, with the same outcome.
    fn both(
        &mut self,
        resource: Resource,
        of: &Object,
        types: &[&'static str],
        params: &'static str,
        expected: &'static str,
    ) {
        self.add(resource, of, types, params, |_| Expected::Is(expected));
    }

    /// The same, and the parameters show in the picture.
    fn changed(
        &mut self,
        resource: Resource,
        of: &Object,
        types: &[&'static str],
        params: &'static str,
        expected: &'static str,
    ) {
        let from = self.calls.len();
        self.both(resource, of, types, params, expected);
        for call in &mut self.calls[from..] {
            call.changes = true;
        }
    }

    fn add(
        &mut self,
        resource: Resource,
        of: &Object,
        types: &[&'static str],
        params: &'static str,
        expected: impl Fn(Library) -> Expected,
    ) {
        let ask = Ask { resource, of, types, params };
        for library in [Python, JavaScript] {
            let Some(function) = library.function(resource) else { continue };
            let expected = ask.mistake_of(library).unwrap_or_else(|| expected(library));
            self.calls.push(Call {
                library,
                function,
                line: json!({"function": function, "arguments": library.arguments(&ask)}),
                asked: ask.to_string(),
                expected,
                changes: false,
            });
        }
    }

    /// `retrieveBulkData` of npm's library.
    fn bulk(&mut self, url: &str, options: Value, singlepart: &str, expected: &'static str) {
        let function = "retrieveBulkData";
        let types = if options.get("mediaTypes").is_some() { " as image/jpeg" } else { "" };
        let how = if singlepart.is_empty() { "" } else { " (singlepart)" };
        self.calls.push(Call {
            library: JavaScript,
            function,
            line: json!({"function": function, "arguments": options, "singlepart": singlepart}),
            asked: format!("{}{types}{how}", tail(url)),
            expected: Expected::Is(expected),
            changes: false,
        });
    }
}

impl Library {
    const ALL: [Self; 2] = [Python, JavaScript];

    fn function(self, resource: Resource) -> Option<&'static str> {
        match (self, resource) {
            (Python, Series) => Some("retrieve_series_rendered"),
            (Python, Instance) => Some("retrieve_instance_rendered"),
            (Python, Frames(_)) => Some("retrieve_instance_frames_rendered"),
            (JavaScript, Instance) => Some("retrieveInstanceRendered"),
            (JavaScript, Frames(_)) => Some("retrieveInstanceFramesRendered"),
            (JavaScript, Thumbnail) => Some("retrieveInstanceThumbnail"),
            (JavaScript, FramesThumbnail(_)) => Some("retrieveInstanceFramesThumbnail"),
            (Python, Thumbnail | FramesThumbnail(_)) | (JavaScript, Series) => None,
        }
    }

    /// What the function takes, as its documentation says.
    fn arguments(self, ask: &Ask) -> Value {
        let params: BTreeMap<&str, &str> =
            ask.params.split('&').filter_map(|param| param.split_once('=')).collect();
        let mut arguments = match self {
            Python => json!({
                "study_instance_uid": ask.of.study,
                "series_instance_uid": ask.of.series,
                "sop_instance_uid": ask.of.instance,
                "frame_numbers": ask.resource.frames(),
                "media_types": ask.types,
                "params": params,
            }),
            JavaScript => json!({
                "studyInstanceUID": ask.of.study,
                "seriesInstanceUID": ask.of.series,
                "sopInstanceUID": ask.of.instance,
                "frameNumbers": ask.resource.frames(),
                "mediaTypes": ask.types.iter().map(|t| json!({"mediaType": t})).collect::<Vec<_>>(),
                "queryParams": params,
            }),
        };
        let fields = arguments.as_object_mut().unwrap();
        if matches!(ask.resource, Series) {
            fields.remove("sop_instance_uid");
        }
        // What is not asked for is left out, as a caller does.
        fields.retain(|_, value| {
            !value.is_null()
                && value.as_array().is_none_or(|list| !list.is_empty())
                && value.as_object().is_none_or(|map| !map.is_empty())
        });
        arguments
    }
}

impl Ask<'_> {
    /// Where a library fails whatever the answer.
    fn mistake_of(&self, library: Library) -> Option<Expected> {
        let unspecific = self.types.is_empty() && self.params.is_empty();
        match (library, self.resource) {
            (JavaScript, Frames(numbers)) if unspecific => Some(Expected::Mistake {
                says: if numbers.len() == 1 {
                    "no picture"
                } else {
                    "has no multipart mime header"
                },
                reason: "without types and parameters it reads the answer as text, \
                         which no picture survives",
            }),
            _ => None,
        }
    }
}

impl Resource {
    fn frames(self) -> Option<&'static [u32]> {
        match self {
            Frames(numbers) | FramesThumbnail(numbers) => Some(numbers),
            Series | Instance | Thumbnail => None,
        }
    }
}

impl fmt::Display for Ask<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.of.name)?;
        if let Some(frames) = self.resource.frames() {
            write!(f, ", frames {frames:?}")?;
        }
        if !self.types.is_empty() {
            write!(f, " as {}", self.types.join(", "))?;
        }
        if !self.params.is_empty() {
            write!(f, " with {}", self.params)?;
        }
        Ok(())
    }
}

/// The end of a URL, for people.
fn tail(url: &str) -> String {
    let level = match url.split('/').filter(|part| ["series", "instances"].contains(part)).count() {
        0 => "study",
        1 => "series",
        _ => "instance",
    };
    let resource = ["/thumbnail", "/rendered"].iter().find_map(|name| url.find(name));
    format!("{level} …{}", &url[resource.unwrap_or_default()..])
}

// Of what -------------------------------------------------------------------------------------------

/// One object, as Orthanc holds it.
#[derive(Clone, Debug)]
struct Object {
    name: &'static str,
    study: String,
    series: String,
    instance: String,
}

impl Object {
    fn study(&self) -> String {
        format!("/studies/{}", self.study)
    }

    fn series(&self) -> String {
        format!("{}/series/{}", self.study(), self.series)
    }

    fn instance(&self) -> String {
        format!("{}/instances/{}", self.series(), self.instance)
    }
}

/// The objects of the calls.
struct Objects {
    slice: Object,
    multi_frame: Object,
    clip: Object,
    report: Object,
    document: Object,
    /// Where there is a corpus.
    video: Option<Object>,
}

impl Objects {
    /// The sample studies, and the corpus' H.264 video.
    async fn store_in(orthanc: &mut Orthanc) -> Self {
        let folder = tempfile::tempdir().unwrap();
        samples::write(folder.path()).unwrap();
        orthanc.store_folder(folder.path()).await;
        let origin = FolderOrigin::open(folder.path()).unwrap();
        Self {
            slice: sample(&origin, "CT slice", "CT, Axial"),
            multi_frame: sample(&origin, "MR of 16 frames", "MR"),
            clip: sample(&origin, "US clip of 20 frames", "US"),
            report: sample(&origin, "report (SR)", "SR"),
            document: sample(&origin, "PDF", "DOC"),
            video: video(orthanc).await,
        }
    }
}

/// The first sample whose description begins so.
fn sample(origin: &FolderOrigin, name: &'static str, description: &str) -> Object {
    let found = origin.instances().find(|instance| instance.description.starts_with(description));
    let path = &found.unwrap_or_else(|| panic!("no sample is a {description}")).path;
    let [study, series, instance] =
        [&path.study, &path.series, &path.instance].map(ToString::to_string);
    Object { name, study, series, instance }
}

async fn video(orthanc: &mut Orthanc) -> Option<Object> {
    let corpus = Corpus::find_or_say("videos of the client libraries")?;
    let h264 = |entry: &&lightbox_tests::Entry| {
        entry.transfer_syntax_uid.as_deref() == Some("1.2.840.10008.1.2.4.102")
    };
    let entry = corpus.entries.iter().find(h264).expect("the corpus holds H.264");
    assert!(orthanc.store(&corpus.read(&entry.path)).await, "Orthanc takes {}", entry.path);
    let [study, series, instance] = [&entry.study_uid, &entry.series_uid, &entry.instance_uid]
        .map(|uid| uid.clone().expect("a video has UIDs"));
    Some(Object { name: "H.264 video", study, series, instance })
}

// The libraries -------------------------------------------------------------------------------------

/// The installed libraries.
struct Clients {
    python: PathBuf,
    node_modules: PathBuf,
}

/// What came of a call.
#[derive(Clone, Debug)]
struct Outcome {
    /// `image/jpeg 512x512`, `3 x image/jpeg 64x64, text/html`, or what the library said.
    seen: String,
    /// Of all payloads.
    digests: Vec<String>,
    /// The status that the library failed with.
    status: Option<u16>,
}

/// A line that a script writes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Error { error: String, status: Option<u16> },
    Files { files: Vec<String> },
    Offers { offers: BTreeSet<String> },
}

/// What Pillow says of a file.
#[derive(Deserialize)]
struct Described {
    is: Vec<String>,
    digest: String,
}

impl Clients {
    /// Where `./run` has put them: beside the build.
    fn find() -> Result<Self, String> {
        let here = std::env::current_exe().map_err(|e| e.to_string())?;
        // target/PROFILE/deps/TEST
        let home = here.ancestors().nth(3).map(|target| target.join("clients"));
        let home = home.ok_or("this test does not lie in a target directory")?;
        let python = home.join("python/bin/python");
        let node_modules = home.join("javascript/node_modules");
        for needed in [&python, &node_modules] {
            if !needed.exists() {
                return Err(format!("{} is not there; ./run test makes it", needed.display()));
            }
        }
        Ok(Self { python, node_modules })
    }

    /// Makes the calls, and asks whether these are all that the libraries have.
    fn make(&self, calls: &[Call], base: &str) -> Vec<Outcome> {
        let folder = tempfile::tempdir().unwrap();
        let payloads = folder.path().join("payloads");
        std::fs::create_dir(&payloads).unwrap();
        let mut said = BTreeMap::new();
        for library in Library::ALL {
            let own: Vec<&Call> = calls.iter().filter(|call| call.library == library).collect();
            let script = folder.path().join("calls");
            let lines: Vec<String> = own.iter().map(|call| call.line.to_string()).collect();
            std::fs::write(&script, lines.join("\n")).unwrap();
            let mut lines = self.run(library, base, &payloads, &script);
            let offers = lines.pop();
            assert_eq!(lines.len(), own.len(), "{library:?}: an outcome for each call");
            all_are_called(library, offers, &own);
            said.insert(library, lines);
        }
        let described = self.describe(&payloads);
        let mut said: BTreeMap<Library, _> =
            said.into_iter().map(|(library, lines)| (library, lines.into_iter())).collect();
        calls
            .iter()
            .map(|call| outcome(said.get_mut(&call.library).unwrap().next().unwrap(), &described))
            .collect()
    }

    fn run(&self, library: Library, base: &str, payloads: &Path, calls: &Path) -> Vec<Line> {
        let (program, script) = match library {
            Python => (self.python.as_path(), "python/calls.py"),
            JavaScript => (Path::new("node"), "javascript/calls.js"),
        };
        let mut command = limited(program);
        command.arg(scripts().join(script)).arg(base).arg(payloads);
        command.env("NODE_PATH", &self.node_modules);
        command.stdin(std::fs::File::open(calls).unwrap());
        output(&mut command)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}")))
            .collect()
    }

    fn describe(&self, payloads: &Path) -> BTreeMap<String, Described> {
        let mut command = limited(&self.python);
        command.arg(scripts().join("python/pictures.py")).arg(payloads).stdin(Stdio::null());
        serde_json::from_str(&output(&mut command)).unwrap()
    }
}

/// A client that hangs is a failure.
fn limited(program: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.arg("300").arg(program);
    // The proxy is on loopback.
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(name);
    }
    command
}

fn output(command: &mut Command) -> String {
    let done = command.output().expect("`timeout` runs");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?} ended with {}:\n{said}", done.status);
    String::from_utf8(done.stdout).expect("the scripts write UTF-8")
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

/// A library that learns a new call makes the test fail until it is called.
fn all_are_called(library: Library, offers: Option<Line>, calls: &[&Call]) {
    let Some(Line::Offers { offers }) = offers else { panic!("{library:?} names its calls") };
    let called: BTreeSet<String> = calls.iter().map(|call| call.function.to_owned()).collect();
    let missing: Vec<_> = offers.difference(&called).collect();
    assert!(!offers.is_empty() && missing.is_empty(), "{library:?}: not called: {missing:?}");
}

fn outcome(line: Line, described: &BTreeMap<String, Described>) -> Outcome {
    match line {
        Line::Error { error, status } => {
            let seen = status.map_or_else(|| error.clone(), |status| format!("{status}: {error}"));
            Outcome { seen, digests: Vec::new(), status }
        }
        Line::Files { files } => {
            let files: Vec<&Described> = files.iter().map(|file| &described[file]).collect();
            let parts: Vec<&str> =
                files.iter().flat_map(|file| file.is.iter().map(String::as_str)).collect();
            let digests = files.iter().map(|file| file.digest.clone()).collect();
            Outcome { seen: counted(&parts), digests, status: None }
        }
        Line::Offers { .. } => panic!("the calls are named at the end"),
    }
}

/// `3 x image/jpeg 64x64, text/html`
fn counted(parts: &[&str]) -> String {
    let runs = parts.chunk_by(|a, b| a == b).map(|run| match run.len() {
        1 => run[0].to_owned(),
        n => format!("{n} x {}", run[0]),
    });
    let runs: Vec<String> = runs.collect();
    if runs.is_empty() { "nothing".to_owned() } else { runs.join(", ") }
}

// What came of it -----------------------------------------------------------------------------------

fn print(calls: &[Call], outcomes: &[Outcome]) {
    for (call, outcome) in calls.iter().zip(outcomes) {
        let verdict = match (complaint(call, outcome), call.expected) {
            (Some(_), _) => "WRONG",
            (None, Expected::Mistake { .. }) => "the library's",
            (None, _) => "right",
        };
        let seen: String = outcome.seen.chars().take(90).collect();
        let (function, asked) = (call.function, &call.asked);
        println!("{verdict:13} {function:34} {asked:74} {seen}");
    }
    let mistakes: BTreeSet<(Library, &str, &str)> = calls
        .iter()
        .filter_map(|call| match call.expected {
            Expected::Mistake { reason, .. } => Some((call.library, call.function, reason)),
            Expected::Is(_) | Expected::Refused(_) => None,
        })
        .collect();
    for (library, function, reason) in mistakes {
        println!("The mistake of {library:?}'s {function}: {reason}");
    }
    for library in Library::ALL {
        let number = calls.iter().filter(|call| call.library == library).count();
        println!("{library:?}: {number} calls");
    }
}

fn complaint(call: &Call, outcome: &Outcome) -> Option<String> {
    let wrong = match call.expected {
        Expected::Is(expected) if outcome.seen == expected => return None,
        Expected::Is(expected) => expected.to_owned(),
        Expected::Refused(status) if outcome.status == Some(status) => return None,
        Expected::Refused(status) => format!("a refusal with {status}"),
        Expected::Mistake { says, .. } if outcome.seen.contains(says) => return None,
        Expected::Mistake { says, .. } => format!("the library's own mistake ({says})"),
    };
    let Call { library, function, asked, .. } = call;
    Some(format!("{library:?} {function}, {asked}: {}, expected {wrong}", outcome.seen))
}

/// A parameter that changes nothing was dropped on the way.
fn everything_that_changes_a_picture_does(calls: &[Call], outcomes: &[Outcome]) {
    for (call, outcome) in calls.iter().zip(outcomes).filter(|(call, _)| call.changes) {
        let plain = call.asked.split(" with ").next().unwrap_or_default();
        let at = calls.iter().position(|other| {
            (other.library, other.function) == (call.library, call.function) && other.asked == plain
        });
        let at = at.unwrap_or_else(|| panic!("{plain} is asked for without parameters too"));
        if matches!(calls[at].expected, Expected::Is(_)) {
            let what = format!("{} {}: no change", call.function, call.asked);
            assert_ne!(outcomes[at].digests, outcome.digests, "{what}");
        }
    }
}

#[test]
fn equal_parts_are_counted() {
    assert_eq!(counted(&["a", "a", "b"]), "2 x a, b");
    assert_eq!(counted(&[]), "nothing");
}
