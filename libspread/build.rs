//! Tells dependents where the C headers are: `DEP_LIBSPREAD_INCLUDE`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    println!("cargo::metadata=include={root}/include");
}
