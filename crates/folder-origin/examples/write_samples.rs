//! Writes the sample studies into a folder: `cargo run -p folder-origin --example write_samples DIR`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("say which folder to write to")?;
    Ok(folder_origin::samples::write(std::path::Path::new(&folder))?)
}
