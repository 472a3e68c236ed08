//! A real Orthanc of one's own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::{Reply, client, closed_port};

const START: Duration = Duration::from_secs(60);
const PLUGINS: &str = "/usr/share/orthanc/plugins";

/// Debian's Orthanc with its DICOMweb and GDCM plugins, on a free loopback port, with a storage of
/// its own; ends with the value.
#[derive(Debug)]
pub struct Orthanc {
    // Before the folder, so that it ends first.
    child: Child,
    folder: TempDir,
    port: u16,
    client: reqwest::Client,
}

impl Orthanc {
    /// Starts it and waits until it answers; the reason where it is not installed.
    pub async fn start() -> Result<Self, String> {
        let binary = binary()?;
        let folder = tempfile::tempdir().expect("a folder for its storage");
        let port = closed_port();
        let plugins = [plugin("libOrthancDicomWeb.so")?, plugin("libOrthancGdcm.so")?];
        std::fs::write(folder.path().join("orthanc.json"), config(folder.path(), port, &plugins))
            .expect("its configuration is written");
        let child = spawn(&binary, folder.path());
        let mut orthanc = Self { child, folder, port, client: client() };
        orthanc.wait_until_it_answers().await;
        Ok(orthanc)
    }

    /// Its DICOMweb base URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/dicom-web", self.port)
    }

    /// Starts it again where it has died (GDCM takes the daemon with it). Its storage stays.
    ///
    /// Returns whether that was needed.
    pub async fn revive(&mut self) -> bool {
        if matches!(self.child.try_wait(), Ok(None)) {
            return false;
        }
        let binary = binary().expect("it was started before");
        self.child = spawn(&binary, self.folder.path());
        self.wait_until_it_answers().await;
        true
    }

    /// Stores a file (STOW-RS), and says whether it was taken.
    pub async fn store(&mut self, file: &[u8]) -> bool {
        let mut body = b"--file\r\nContent-Type: application/dicom\r\n\r\n".to_vec();
        body.extend(file);
        body.extend(b"\r\n--file--\r\n");
        let sent = self
            .client
            .post(format!("{}/studies", self.url()))
            .header("content-type", r#"multipart/related; type="application/dicom"; boundary=file"#)
            .header("accept", "application/dicom+json")
            .body(body)
            .send()
            .await;
        let Ok(response) = sent else {
            self.revive().await;
            return false;
        };
        let reply = Reply::read(response).await;
        // 00081199: Referenced SOP Sequence, 00081198: Failed SOP Sequence (PS3.18 Table I.2-1).
        let answer = serde_json::from_slice::<serde_json::Value>(&reply.body).unwrap_or_default();
        let answer = answer.get(0).unwrap_or(&answer);
        let items = |tag: &str| {
            answer.pointer(&format!("/{tag}/Value")).and_then(|v| v.as_array()).map_or(0, Vec::len)
        };
        reply.status() == 200 && items("00081199") > 0 && items("00081198") == 0
    }

    /// Stores every file below a folder; panics where it does not take one.
    pub async fn store_folder(&mut self, folder: &Path) {
        for entry in std::fs::read_dir(folder).expect("the folder is there") {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                Box::pin(self.store_folder(&path)).await;
            } else {
                let file = std::fs::read(&path).expect("the file can be read");
                assert!(self.store(&file).await, "Orthanc refuses {}", path.display());
            }
        }
    }

    async fn wait_until_it_answers(&mut self) {
        let deadline = Instant::now() + START;
        let url = format!("{}/studies?limit=1", self.url());
        while Instant::now() < deadline {
            if self.client.get(&url).send().await.is_ok_and(|answer| answer.status() == 200) {
                return;
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("Orthanc ended at its start ({status}):\n{}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("Orthanc does not answer:\n{}", self.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Orthanc {
    fn drop(&mut self) {
        // Failing means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(binary: &Path, folder: &Path) -> Child {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .expect("its log is opened");
    Command::new(binary)
        .arg(folder.join("orthanc.json"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("one file for both streams"))
        .stderr(log)
        .spawn()
        .expect("Orthanc runs")
}

fn config(folder: &Path, port: u16, plugins: &[PathBuf]) -> String {
    json!({
        "Name": "lightbox-tests",
        "StorageDirectory": folder.join("storage"),
        "IndexDirectory": folder.join("storage"),
        "Plugins": plugins,
        "HttpPort": port,
        // Loopback only.
        "RemoteAccessAllowed": false,
        "AuthenticationEnabled": false,
        "DicomServerEnabled": false,
        "OverwriteInstances": true,
        "StableAge": 1,
        "DicomWeb": { "Enable": true, "Root": "/dicom-web/", "EnableWado": true },
        "Gdcm": { "Enable": true },
    })
    .to_string()
}

fn binary() -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|directory| directory.join("Orthanc"))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| "Orthanc is not installed (Debian: apt-get install orthanc)".into())
}

fn plugin(name: &str) -> Result<PathBuf, String> {
    let path = Path::new(PLUGINS).join(name);
    let package = "apt-get install orthanc-dicomweb orthanc-gdcm";
    if path.exists() {
        Ok(path)
    } else {
        Err(format!("{name} is not installed (Debian: {package})"))
    }
}
