//! Lets the examples and tests find a system libspread at run time.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Told by spread-sys when it links a shared library outside the usual
    // folders; nothing is to be done for the bundled one.
    println!("cargo::rerun-if-env-changed=DEP_SPREAD_RUNPATH");
    if let Ok(folder) = std::env::var("DEP_SPREAD_RUNPATH") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{folder}");
    }
}
