//! An archive of objects made in code, with a go-between that counts its calls; and a folder for what a
//! proxy keeps.

use std::path::{Path, PathBuf};

use folder_origin::FolderOrigin;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::{Between, EXPLICIT_LITTLE_ENDIAN, Object, Place, Proxy};

const CT: &str = "1.2.840.10008.5.1.4.1.1.2";

/// An archive that can be stopped and changed.
#[derive(Debug)]
pub struct Archive {
    folder: PathBuf,
    _own: Option<TempDir>,
    paths: Vec<String>,
    server: JoinHandle<()>,
    between: Between,
}

impl Archive {
    /// One that holds these files.
    pub async fn of(files: &[(&str, Vec<u8>)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the archive");
        for (name, file) in files {
            std::fs::write(folder.path().join(name), file).expect("a file is written");
        }
        let path = folder.path().to_owned();
        Self::at(path, Some(folder)).await
    }

    /// One over a folder that is there, which is not changed.
    pub async fn over(folder: &Path) -> Self {
        Self::at(folder.to_owned(), None).await
    }

    async fn at(folder: PathBuf, own: Option<TempDir>) -> Self {
        let Served { server, url, paths } = serve(&folder).await;
        let between = Between::start(&url).await;
        Self { folder, _own: own, paths, server, between }
    }

    /// The paths of all instances, as they were at the start.
    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// One with a study of `series` series of `instances` CT images each.
    pub async fn of_ct(study: u32, series: u32, instances: u32) -> Self {
        Self::of_ct_studies(&[study], series, instances).await
    }

    /// The same of several studies.
    pub async fn of_ct_studies(studies: &[u32], series: u32, instances: u32) -> Self {
        let mut files = Vec::new();
        for place in studies.iter().flat_map(|study| places(*study, series, instances)) {
            files.push((format!("{}.dcm", place.instance_uid()), ct(&place, 0)));
        }
        let named: Vec<(&str, Vec<u8>)> =
            files.iter().map(|(name, file)| (name.as_str(), file.clone())).collect();
        Self::of(&named).await
    }

    /// Adds a file, or replaces one, and serves what there is now.
    pub async fn put(&mut self, name: &str, file: &[u8]) {
        std::fs::write(self.folder.join(name), file).expect("a file is written");
        self.serve_again().await;
    }

    /// Removes a file.
    pub async fn remove(&mut self, name: &str) {
        std::fs::remove_file(self.folder.join(name)).expect("the file is there");
        self.serve_again().await;
    }

    async fn serve_again(&mut self) {
        self.server.abort();
        let Served { server, url, .. } = serve(&self.folder).await;
        self.server = server;
        self.between.lead_to(&url);
    }

    /// Nothing answers from now on.
    pub fn stop(&self) {
        self.server.abort();
        self.between.stop();
    }

    /// The go-between.
    pub fn between(&self) -> &Between {
        &self.between
    }

    /// Its base URL, as a proxy is told.
    pub fn url(&self) -> String {
        self.between.url()
    }

    /// How many calls there were whose path contains this text.
    pub fn calls_of(&self, text: &str) -> usize {
        self.between.received().iter().filter(|call| call.path.contains(text)).count()
    }

    /// How many calls there were for pixels: frames, and whole instances.
    pub fn pixel_calls(&self) -> usize {
        let is_whole = |path: &str| {
            path.rsplit_once("/instances/").is_some_and(|(_, rest)| !rest.contains('/'))
        };
        let received = self.between.received();
        received.iter().filter(|c| c.path.contains("/frames/") || is_whole(&c.path)).count()
    }
}

struct Served {
    server: JoinHandle<()>,
    url: String,
    paths: Vec<String>,
}

async fn serve(folder: &Path) -> Served {
    let folder = folder.to_owned();
    let opened = tokio::task::spawn_blocking(move || FolderOrigin::open(&folder));
    let origin = opened.await.expect("it ends").expect("the folder is read");
    let paths = origin.instances().map(|instance| format!("/{}", instance.path)).collect();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let server = tokio::spawn(async move {
        let _ = origin.serve(listener, std::future::pending()).await;
    });
    Served { server, url, paths }
}

/// The places of the images of [`Archive::of_ct`].
pub fn places(study: u32, series: u32, instances: u32) -> Vec<Place> {
    (1..=series)
        .flat_map(|series| (1..=instances).map(move |instance| Place::new(study, series, instance)))
        .collect()
}

/// A CT of 64 × 48 pixels; its grey levels depend on where it is and on `shade`.
pub fn ct(place: &Place, shade: u8) -> Vec<u8> {
    let seed = place.instance_uid().bytes().fold(shade, u8::wrapping_add);
    let pixels: Vec<u8> =
        (0..64 * 48_u32).map(|at| ((at % 64) as u8).wrapping_mul(3).wrapping_add(seed)).collect();
    Object::new(place, CT, "CT")
        .matrix(64, 48, "MONOCHROME2")
        .window("128", "256")
        .pixels(&pixels)
        .file(EXPLICIT_LITTLE_ENDIAN)
}

/// A proxy that keeps what it fetches and draws in a folder of its own.
#[derive(Debug)]
pub struct Keeper {
    folder: TempDir,
    keys: Vec<(String, String)>,
}

impl Keeper {
    /// With these keys beside that of the folder.
    pub fn new(keys: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the cache");
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let mut keys: Vec<(String, String)> = keys.iter().map(own).collect();
        let dir = folder.path().join("cache").to_str().expect("a plain path").to_owned();
        keys.push(("cache_dir".to_owned(), dir));
        // What tests do not ask for must not come in between.
        if !keys.iter().any(|(key, _)| key == "warm_up") {
            keys.push(("warm_up".to_owned(), "false".to_owned()));
        }
        Self { folder, keys }
    }

    /// Where it keeps things.
    pub fn dir(&self) -> std::path::PathBuf {
        self.folder.path().join("cache")
    }

    /// Starts one in front of this archive, with what the last one has kept.
    pub async fn start(&self, upstream: &str) -> Proxy {
        let keys: Vec<(&str, &str)> =
            self.keys.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        Proxy::start_with(upstream, &keys).await
    }

    /// All files below its folder.
    pub fn files(&self) -> Vec<std::path::PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.dir()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                    Ok(_) => files.push(entry.path()),
                    Err(_) => {}
                }
            }
        }
        files
    }
}
