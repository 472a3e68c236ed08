//! `lightbox demo`: no archive at hand.
//!
//! An embedded read-only DICOMweb origin over a folder, and in front of it, over real HTTP, the same
//! proxy as ever: it does not know that it is a demo.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use folder_origin::{FolderOrigin, InstanceSummary};
use proxy_server::{Config, Listeners};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::serve::{announce, url};
use super::{Failure, Outcome};

#[derive(Args)]
pub(crate) struct Demo {
    /// Folder of DICOM files; built-in sample studies if absent
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Where the proxy listens [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
}

pub(crate) fn run(args: &Demo) -> Outcome {
    // The samples live as long as this value.
    let samples = match args.folder {
        Some(_) => None,
        None => {
            eprintln!("making the sample studies …");
            Some(write_samples()?)
        }
    };
    let (folder, what) = match (&args.folder, &samples) {
        (Some(folder), _) => (folder.as_path(), format!("the DICOM files of {}", folder.display())),
        (None, Some(samples)) => {
            (samples.path(), "built-in sample studies, made in code".to_owned())
        }
        (None, None) => return Err(Failure::Work("no folder to serve".to_owned())),
    };
    let origin = open(folder)?;
    super::run_to_end(both(args, origin, &what))
}

fn write_samples() -> Result<tempfile::TempDir, Failure> {
    let folder = tempfile::Builder::new()
        .prefix("lightbox-demo-")
        .tempdir()
        .map_err(|error| Failure::Work(format!("no temporary folder: {error}")))?;
    folder_origin::samples::write(folder.path()).map_err(work)?;
    Ok(folder)
}

fn open(folder: &Path) -> Result<FolderOrigin, Failure> {
    let origin = FolderOrigin::open(folder).map_err(work)?;
    if origin.is_empty() {
        return Err(Failure::Work(format!("no DICOM files in {}", folder.display())));
    }
    Ok(origin)
}

async fn both(args: &Demo, origin: FolderOrigin, what: &str) -> Outcome {
    // Who finds the port open may ask to leave at once.
    let shutdown = proxy_server::shutdown_requested();
    let archive = TcpListener::bind(("127.0.0.1", 0)).await.map_err(work)?;
    let upstream = format!("http://{}", archive.local_addr().map_err(work)?);
    let config = config(args, &upstream)?;
    super::log(&config);
    let listeners = Listeners::bind(&config).await?;
    let public = listeners.public.local_addr().map_err(work)?;

    println!("Lightbox demo: {what}.");
    println!(
        "{} studies, {} instances, behind an embedded DICOMweb archive at {upstream}.",
        origin.number_of_studies(),
        origin.number_of_instances()
    );
    announce(&config, &listeners);
    println!("{}", invitation(&origin, public, &config));

    let (stop, stopped) = oneshot::channel::<()>();
    let archive = origin.serve(archive, async {
        // Whether told or dropped: either way the proxy has ended.
        let _ = stopped.await;
    });
    let proxy = async {
        let outcome = proxy_server::serve(config, listeners, shutdown).await;
        drop(stop);
        outcome
    };
    let (archive, proxy) = tokio::join!(archive, proxy);
    archive.map_err(work)?;
    Ok(proxy?)
}

fn config(args: &Demo, upstream: &str) -> Result<Config, Failure> {
    let mut flags = vec![("upstream", upstream.to_owned())];
    flags.extend(args.listen.clone().map(|address| ("listen", address)));
    // A demo must start beside a proxy that is already there.
    if std::env::var_os("LIGHTBOX_ADMIN_LISTEN").is_none() {
        flags.push(("admin_listen", "127.0.0.1:0".to_owned()));
    }
    // Its archive is another one each time.
    if std::env::var_os("LIGHTBOX_CACHE_DISK").is_none() {
        flags.push(("cache_disk", "off".to_owned()));
    }
    super::load(None, &flags)
}

/// Things to try, ready to be pasted.
fn invitation(origin: &FolderOrigin, public: SocketAddr, config: &Config) -> String {
    let reachable = if public.ip().is_unspecified() {
        SocketAddr::from(([127, 0, 0, 1], public.port()))
    } else {
        public
    };
    let base = url(config, reachable, &config.upstream.base_path);
    let images: Vec<&InstanceSummary> =
        origin.instances().filter(|instance| instance.number_of_frames > 0).collect();
    let mut lines = vec![
        String::new(),
        "Open in a browser:".to_owned(),
        format!("  http://{reachable}/"),
        String::new(),
        "Or paste:".to_owned(),
    ];
    if let Some(first) = images.first() {
        lines.push(curl("thumbnail.jpg", &format!("{base}{}/thumbnail", first.path), first));
    }
    // The middle one shows more than a localizer or the first slice.
    let slices: Vec<_> = images.iter().filter(|image| image.modality == "CT").collect();
    if let Some(ct) = slices.get(slices.len() / 2) {
        let url = format!("{base}{}/rendered?window=40,80,linear", ct.path);
        lines.push(curl("brain-window.jpg", &url, ct));
    }
    if let Some(cine) = images.iter().find(|i| i.number_of_frames > 1) {
        let frame = cine.number_of_frames / 2 + 1;
        let url = format!(
            "{base}{}/frames/{frame}/rendered?viewport=512,512&accept=image/png",
            cine.path
        );
        lines.push(curl("frame.png", &url, cine));
    }
    lines.push(format!("  curl '{base}studies?limit=3'"));
    lines.push("      # everything else passes through to the archive".to_owned());
    lines.push(String::new());
    lines.push("Ctrl-C ends it.".to_owned());
    lines.join("\n")
}

fn curl(file: &str, url: &str, instance: &InstanceSummary) -> String {
    format!("  curl -o {file} '{url}'\n      # {}", instance.description)
}

fn work(error: impl std::fmt::Display) -> Failure {
    Failure::Work(error.to_string())
}
