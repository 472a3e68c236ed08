//! A real nginx on a free loopback port.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::closed_port;

/// It ends with the value.
#[derive(Debug)]
pub struct Nginx {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Told to end, its workers end with it; failing means that it has ended already.
        let _ = Command::new("kill").args(["-s", "TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

impl Nginx {
    /// Serves as many workers as `workers` what `http` and `server` say: directives of these blocks, in which
    /// `ROOT` stands for its folder, where `files` are. `Err` where it is not installed.
    pub fn start(
        workers: usize,
        http: &str,
        server: &str,
        files: &[(&str, &[u8])],
    ) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let (root, port) = (folder.path().display().to_string(), closed_port());
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).map_err(|e| e.to_string())?;
        }
        let config = format!(
            "worker_processes {workers}; daemon off; user root; pid ROOT/pid; error_log ROOT/error.log;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; client_body_temp_path ROOT/body; proxy_temp_path ROOT/proxy;\n\
             fastcgi_temp_path ROOT/f; uwsgi_temp_path ROOT/u; scgi_temp_path ROOT/s;\n\
             {http}\nserver {{ listen 127.0.0.1:{port}; {server} }} }}\n"
        )
        .replace("ROOT", &root);
        std::fs::write(folder.path().join("nginx.conf"), config).map_err(|e| e.to_string())?;
        let begin = |program: &str| {
            Command::new(program)
                .args(["-e", &format!("{root}/error.log"), "-p", &root, "-c", "nginx.conf"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
        };
        let child = begin("nginx").or_else(|_| begin("/usr/sbin/nginx"));
        let child = child.map_err(|_| "nginx is not installed".to_owned())?;
        let nginx = Self { child, port, folder };
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > deadline {
                let log = std::fs::read_to_string(nginx.folder.path().join("error.log"));
                return Err(format!("nginx does not listen: {}", log.unwrap_or_default()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(nginx)
    }

    /// Puts a file into its folder, or another in its place.
    pub fn put(&self, name: &str, content: &[u8]) {
        std::fs::write(self.folder.path().join(name), content).expect("its folder can be written");
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}
