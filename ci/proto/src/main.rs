//! Writes the code that prost makes of a `.proto` file.

use std::env;
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [file, out_dir] = arguments.as_slice() else {
        return Err("usage: write-proto FILE.proto OUT_DIR".into());
    };
    let folder = Path::new(file).parent().ok_or("FILE.proto has no folder")?;
    let descriptors = protox::compile([file], [folder])?;
    prost_build::Config::new().bytes(["."]).out_dir(out_dir).compile_fds(descriptors)?;
    Ok(())
}
