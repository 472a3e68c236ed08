//! Serves a folder: `cargo run -p folder-origin --example serve DIR [ADDRESS]`.

use std::path::Path;

use folder_origin::FolderOrigin;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or("say which folder to serve")?;
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:8043".to_owned());
    let origin = FolderOrigin::open(Path::new(&folder))?;
    let listener = tokio::net::TcpListener::bind(&address).await?;
    let (instances, skipped) = (origin.number_of_instances(), origin.skipped());
    println!("{instances} instances at http://{}, {skipped} files skipped", listener.local_addr()?);
    origin.serve(listener, std::future::pending()).await?;
    Ok(())
}
