//! Cold thumbnails in front of a real Orthanc, beside Orthanc's own: `./run bench cold`.
//!
//! Each object is asked once, of both in turn, who is first alternating; only pairs that both answer count.
//! Beside them stands what cannot be left out: the archive handing over the bytes, and the bare codec.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use lightbox_tests::{Corpus, Orthanc, Proxy, client};
use native_codecs::{jpeg, jpeg_ls, jpeg2000};

/// Objects of each kind.
const COPIES: usize = 8;

/// Name, path within the corpus, and whether thumbnails of it may be decoded at a reduced size.
const KINDS: &[(&str, &str, bool)] = &[
    ("CT 512², native", "ct/ct2_unc.dcm", false),
    ("CT 512², JPEG 2000", "ct/ct1_j2kr.dcm", false),
    ("CT 512², JPEG-LS", "ct/ct2_jlsn.dcm", false),
    ("MR 1024², JPEG lossless", "mr/mr2_jpeg_lossless_process14.dcm", false),
    ("MR 512², RLE", "mr/mr4_rle.dcm", false),
    ("XA 1024², JPEG 2000", "xa/xa1_j2kr.dcm", false),
    ("XA 512², 96 frames, JPEG", "xa/xa_rubo_96frames_jpeg.dcm", true),
    ("US 640×480, JPEG", "us/us_ybr422_jpeg_baseline.dcm", true),
    ("US 34 frames, JPEG", "us/us_multiframe_ybr422_jpeg.dcm", true),
    ("CR 1760×2140, JPEG 12 bit", "cr-dx-mg/rg2_jply.dcm", true),
    ("CR 1760², JPEG 2000", "cr-dx-mg/rg3_j2ki.dcm", true),
    ("DX 4 MP, JPEG 2000", "cr-dx-mg/dx_mono1_inverse_j2k_966_fixed.dcm", true),
    ("DX 4 MP, JPEG-LS", JPEG_LS_DX, false),
    ("MG 14 MP, JPEG 2000", "cr-dx-mg/mg1_j2ki.dcm", true),
    ("MG 7 MP, JPEG lossless", "cr-dx-mg/mg_sigmoid_voilut_three_windows.dcm", false),
];

/// Made of the one before it: the corpus has none.
const JPEG_LS_DX: &str = "";

struct Kind {
    name: &'static str,
    reducible: bool,
    /// Of the objects, as the archive has them.
    paths: Vec<String>,
    frame: u32,
    ours: Vec<Duration>,
    theirs: Vec<Duration>,
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a benchmark: ./run bench cold"]
async fn cold_thumbnails() {
    let corpus = Corpus::find().expect("the corpus: LIGHTBOX_CORPUS names its folder");
    let mut orthanc = Orthanc::start().await.expect("Orthanc with its plugins");
    let mut kinds = Vec::new();
    for &(name, path, reducible) in KINDS {
        match stored(&mut orthanc, &corpus, path).await {
            Some((paths, frame)) => {
                let (ours, theirs) = (Vec::new(), Vec::new());
                kinds.push(Kind { name, reducible, paths, frame, ours, theirs });
            }
            None => println!("left out: {name}"),
        }
    }
    let proxy = Proxy::start(&orthanc.url()).await;
    for copy in 0..COPIES {
        for kind in &mut kinds {
            ask_both(&mut orthanc, &proxy, kind, copy).await;
        }
    }
    print(&orthanc, &kinds).await;
}

async fn ask_both(orthanc: &mut Orthanc, proxy: &Proxy, kind: &mut Kind, copy: usize) {
    let path = kind.paths[copy].clone();
    let ours = format!("{}{path}/thumbnail?viewport=256,256", proxy.url());
    let theirs = format!("{}{path}/rendered?viewport=256,256", orthanc.url());
    let (first, second) = if copy.is_multiple_of(2) { (&ours, &theirs) } else { (&theirs, &ours) };
    let times = [timed(first, "image/jpeg").await, timed(second, "image/jpeg").await];
    // GDCM may take the daemon with it.
    if orthanc.revive().await {
        println!("Orthanc died of {} and was started again", kind.name);
        return;
    }
    if let [Some((first, _)), Some((second, _))] = times {
        let pair = if copy.is_multiple_of(2) { (first, second) } else { (second, first) };
        kind.ours.push(pair.0);
        kind.theirs.push(pair.1);
    }
}

/// Until the last byte of a 200; `None` of anything else.
async fn timed(url: &str, accept: &str) -> Option<(Duration, bytes::Bytes)> {
    // One client for all, so that connections are kept.
    static CLIENT: std::sync::OnceLock<reqwest::Client> = std::sync::OnceLock::new();
    let client = CLIENT.get_or_init(client);
    let began = Instant::now();
    let answer = client.get(url).header("accept", accept).send().await.ok()?;
    let is_ok = answer.status() == 200;
    let body = answer.bytes().await.ok()?;
    is_ok.then(|| (began.elapsed(), body))
}

async fn print(orthanc: &Orthanc, kinds: &[Kind]) {
    println!(
        "{:<28}{:>5}{:>9}{:>10}{:>8}{:>9}{:>8}{:>8}",
        "kind", "pairs", "ours", "Orthanc's", "ratio", "bytes", "codec", "bound"
    );
    let mut logarithms = Vec::new();
    for kind in kinds.iter().filter(|kind| !kind.ours.is_empty()) {
        let (ours, theirs) = (median(&kind.ours), median(&kind.theirs));
        let frame =
            handed_over(orthanc, kind, "octet-stream", &format!("/frames/{}", kind.frame)).await;
        let whole = handed_over(orthanc, kind, "dicom", "").await;
        let (Some((frame, body)), Some((whole, _))) = (frame, whole) else { continue };
        let (bytes, codec) = (frame.min(whole), bare(&payload(&body), kind.reducible));
        let bound = (bytes + codec).mul_f64(1.3) + Duration::from_millis(3);
        let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
        logarithms.push(ratio.ln());
        let mark = if ours <= bound { "" } else { " !" };
        println!(
            "{:<28}{:>5}{:>9.1}{:>10.1}{ratio:>8.2}{:>9.1}{:>8.1}{:>8.1}{mark}",
            kind.name,
            kind.ours.len(),
            ms(ours),
            ms(theirs),
            ms(bytes),
            ms(codec),
            ms(bound)
        );
    }
    let mean = logarithms.iter().sum::<f64>() / logarithms.len().max(1) as f64;
    println!("geometric mean of the ratios: {:.2}", mean.exp());
}

/// The shortest time in which the archive hands over what `below` an object names, and that.
async fn handed_over(
    orthanc: &Orthanc,
    kind: &Kind,
    media_type: &str,
    below: &str,
) -> Option<(Duration, bytes::Bytes)> {
    let accept = format!("multipart/related; type=\"application/{media_type}\"; transfer-syntax=*");
    let mut best: Option<(Duration, bytes::Bytes)> = None;
    for path in &kind.paths {
        let answer = timed(&format!("{}{path}{below}", orthanc.url()), &accept).await?;
        best = Some(best.filter(|best| best.0 <= answer.0).unwrap_or(answer));
    }
    best
}

/// The first part of a body that Orthanc wrote.
fn payload(body: &[u8]) -> Vec<u8> {
    let start = body.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let end = body.windows(4).rposition(|window| window == b"\r\n--").unwrap();
    body[start..end].to_vec()
}

/// The shortest time of the decoder that the bytes call for; none where they are cells.
fn bare(stream: &[u8], reducible: bool) -> Duration {
    let decode = || match stream {
        [0xFF, 0x4F, 0xFF, 0x51, ..] => {
            let header = jpeg2000::header(stream).unwrap();
            // Two pixels for one of the thumbnail, as the renderer keeps where it may.
            let spare = (header.width.max(header.height) / 512).max(1);
            let reduce = if reducible { (spare.ilog2() as u8).min(header.levels) } else { 0 };
            drop(black_box(jpeg2000::decode(stream, reduce, 1).unwrap()));
        }
        [0xFF, 0xD8, ..] => match jpeg::header(stream) {
            Ok(_) => drop(black_box(jpeg::decode(stream, jpeg::Reduction::Full).unwrap())),
            Err(_) => drop(black_box(jpeg_ls::decode(stream).unwrap())),
        },
        [_, 0, 0, 0, 64, 0, 0, 0, ..] => drop(black_box(unpacked(stream))),
        cells => drop(black_box(cells.to_vec())),
    };
    let time = |_| {
        let began = Instant::now();
        decode();
        began.elapsed()
    };
    (0..5).map(time).min().unwrap_or_default()
}

/// The segments of RLE (PS3.5 Annex G) as one, which is what decoding them takes.
fn unpacked(stream: &[u8]) -> Vec<u8> {
    let (mut bytes, mut at) = (Vec::new(), 64);
    while at < stream.len() {
        let control = stream[at] as i8;
        at += 1;
        if control >= 0 {
            let end = (at + control as usize + 1).min(stream.len());
            bytes.extend_from_slice(&stream[at..end]);
            at = end;
        } else if control != i8::MIN && at < stream.len() {
            bytes.resize(bytes.len() + usize::from(control.unsigned_abs()) + 1, stream[at]);
            at += 1;
        }
    }
    bytes
}

/// Stores equal objects under UIDs of their own: their paths, and the frame that stands for them.
async fn stored(orthanc: &mut Orthanc, corpus: &Corpus, path: &str) -> Option<(Vec<String>, u32)> {
    let source =
        if path == JPEG_LS_DX { "cr-dx-mg/dx_mono1_inverse_j2k_966_fixed.dcm" } else { path };
    let entry = corpus.entries.iter().find(|entry| entry.path == source)?;
    let file = if path == JPEG_LS_DX {
        let folder = tempfile::tempdir().unwrap();
        as_jpeg_ls(&corpus.root().join(source), folder.path())?
    } else {
        corpus.read(source)
    };
    let instance = entry.instance_uid.clone()?;
    let url_path = entry.url_path()?;
    let mut paths = Vec::new();
    for copy in 0..COPIES {
        // Of the same length, so that nothing else of the file changes.
        let digits = instance.len() - instance.rfind('.').unwrap_or(0) - 1;
        let tail = format!("{:0>1$}", format!("{copy}{}", path.len() % 10), digits.min(4));
        let uid = format!("{}{tail}", &instance[..instance.len() - tail.len()]);
        assert!(orthanc.store(&replaced(&file, &instance, &uid)).await, "{path} is taken");
        paths.push(url_path.replace(&instance, &uid));
    }
    let frames = frames(&file).max(1);
    Some((paths, frames / 2 + 1))
}

fn replaced(file: &[u8], old: &str, new: &str) -> Vec<u8> {
    let mut file = file.to_vec();
    let mut at = 0;
    while let Some(found) = file[at..].windows(old.len()).position(|w| w == old.as_bytes()) {
        at += found;
        file[at..at + old.len()].copy_from_slice(new.as_bytes());
        at += old.len();
    }
    file
}

/// Number of Frames (0028,0008), IS in a file of explicit VR.
fn frames(file: &[u8]) -> u32 {
    let tag = [0x28, 0x00, 0x08, 0x00, b'I', b'S'];
    let Some(at) = file.windows(6).position(|window| window == tag) else { return 1 };
    let length = usize::from(file[at + 6]);
    let text = String::from_utf8_lossy(&file[at + 8..at + 8 + length]).into_owned();
    text.trim().parse().unwrap_or(1)
}

/// The object encoded again by GDCM (Debian: libgdcm-tools).
fn as_jpeg_ls(file: &Path, folder: &Path) -> Option<Vec<u8>> {
    let convert = |arguments: &[&str], from: &Path, to: PathBuf| -> Option<PathBuf> {
        let done = Command::new("gdcmconv").args(arguments).arg(from).arg(&to).output().ok()?;
        done.status.success().then_some(to)
    };
    let raw = convert(&["--raw"], file, folder.join("raw.dcm"))?;
    std::fs::read(convert(&["--jpegls"], &raw, folder.join("jpeg-ls.dcm"))?).ok()
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    (times[(times.len() - 1) / 2] + times[times.len() / 2]) / 2
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
