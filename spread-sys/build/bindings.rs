//! Makes bindings of a header, as `src/bindings.rs` has them.

use std::error::Error;
use std::path::{Path, PathBuf};

/// Where the bindings go.
pub(crate) fn out() -> PathBuf {
    PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it")).join("bindings.rs")
}

/// Writes `bindings.rs` for the `sp.h` in a folder.
pub(crate) fn generate(include: &Path) -> Result<(), Box<dyn Error>> {
    bindgen::builder()
        .header(include.join("sp.h").to_str().ok_or("the folder's name is no text")?)
        .allowlist_file(r".*/sp(_events|_func)?\.h")
        .default_macro_constant_type(bindgen::MacroTypeVariation::Signed)
        .derive_default(true)
        .no_default("(dummy_)?(scat_element|scatter)")
        .layout_tests(false)
        .ctypes_prefix("::std::ffi")
        .merge_extern_blocks(true)
        .sort_semantically(true)
        .rust_target(bindgen::RustTarget::stable(88, 0).expect("the rust-version of the crate"))
        .rust_edition(bindgen::RustEdition::Edition2024)
        .formatter(bindgen::Formatter::Prettyplease)
        .disable_header_comment()
        .generate()?
        .write_to_file(out())?;
    Ok(())
}
