//! Binds to the libspread that is installed.

use std::env;
use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::bindings;
use crate::find::{Found, find};

/// The bindings that programs are written to.
const CHECKED_IN: &str = include_str!("../src/bindings.rs");

/// Constants that are those of one version or of one installation.
const FREE: [&str; 2] = ["SPREAD_VERSION", "MAX_FD_EVENTS"];

const WITHOUT_LIBCLANG: &str = "spread-sys makes bindings of the installed sp.h with bindgen, \
    which needs libclang: install it (libclang-dev on Debian and Ubuntu, clang-devel on Fedora, \
    llvm on macOS), or set LIBCLANG_PATH to the folder that it is in.";

pub(crate) fn build() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed=DOCS_RS");
    if env::var_os("DOCS_RS").is_some() {
        // No Spread is installed there, and nothing is linked.
        fs::write(bindings::out(), CHECKED_IN)?;
        return Ok(());
    }
    let found = find()?;
    for header in ["sp.h", "sp_func.h", "sp_events.h"] {
        println!("cargo::rerun-if-changed={}", found.include.join(header).display());
    }
    println!("cargo::rerun-if-changed={}", found.file.display());
    check(&found.include)?;
    generate(&found.include)?;
    link(&found);
    Ok(())
}

/// Compiles what the crate assumes of the header; nothing of it is linked.
fn check(include: &Path) -> Result<(), Box<dyn Error>> {
    let out = Path::new(&env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?).join("check.c");
    let mut source = include_str!("check.c").to_owned();
    for (name, value) in constants() {
        // Compared as 32 bits: some have the highest one set.
        writeln!(source, "CHECK((int)({name}) == (int)({value}), {name})")?;
    }
    fs::write(&out, source)?;
    let compiled = cc::Build::new()
        .file(&out)
        .include(include)
        .warnings(false)
        .cargo_metadata(false)
        .try_compile_intermediates();
    compiled.map(drop).map_err(|error| {
        format!(
            "{} is not the sp.h that spread-sys can bind to, that of Spread 5: it does not compile, \
             or sizes, values or functions in it are others.\n\
             If it belongs to something else, set SPREAD_INCLUDE_DIR or SPREAD_DIR.\n{error}",
            include.join("sp.h").display()
        )
        .into()
    })
}

/// The constants of the checked-in bindings, and their values.
fn constants() -> impl Iterator<Item = (&'static str, &'static str)> {
    CHECKED_IN.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("pub const ")?.split_once(": ")?;
        let (_, value) = rest.strip_suffix(';')?.split_once(" = ")?;
        (!FREE.contains(&name)).then_some((name, value))
    })
}

fn generate(include: &Path) -> Result<(), Box<dyn Error>> {
    // bindgen panics if it does not find libclang.
    let generated =
        std::panic::catch_unwind(|| bindings::generate(include).map_err(|error| error.to_string()));
    match generated {
        Ok(generated) => Ok(generated?),
        Err(_) => Err(WITHOUT_LIBCLANG.into()),
    }
}

fn link(found: &Found) {
    let lib = found.lib.display();
    let kind = if found.is_static { "static" } else { "dylib" };
    println!("cargo::rustc-link-search=native={lib}");
    println!("cargo::rustc-link-lib={kind}={}", found.name);
    if found.is_static && env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        for needed in ["pthread", "dl", "m"] {
            println!("cargo::rustc-link-lib=dylib={needed}");
        }
    }
    println!("cargo::metadata=include={}", found.include.display());
    println!("cargo::metadata=lib={lib}");
    if !found.is_static && !is_default(&found.lib) {
        println!("cargo::metadata=runpath={lib}");
        // For the tests of this package; others have it from the metadata.
        println!("cargo::rustc-link-arg=-Wl,-rpath,{lib}");
    }
}

/// Whether the loader looks there by itself.
fn is_default(folder: &Path) -> bool {
    ["/lib", "/lib64", "/usr/lib", "/usr/lib64"].iter().any(|usual| {
        let rest = folder.strip_prefix(usual);
        rest.is_ok_and(|rest| {
            rest.as_os_str().is_empty() || rest.to_string_lossy().ends_with("-linux-gnu")
        })
    })
}
