//! Where an installed libspread is.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

/// The libraries that threads can use, best first. `spread-core` is none: it is
/// built without locks.
const LIBRARIES: [&str; 2] = ["spread", "tspread-core"];

/// Folders that Spread is installed below.
const PREFIXES: [&str; 5] =
    ["/usr/local", "/usr", "/opt/spread", "/usr/local/spread", "/opt/homebrew"];

/// A libspread, and its header.
pub(crate) struct Found {
    /// The folder with `sp.h`.
    pub(crate) include: PathBuf,
    /// The folder with the library.
    pub(crate) lib: PathBuf,
    /// Its name, as the linker wants it.
    pub(crate) name: &'static str,
    /// The file.
    pub(crate) file: PathBuf,
    /// Whether it is linked into the program.
    pub(crate) is_static: bool,
}

/// Nothing was found: what was looked for, and where.
#[derive(Debug)]
pub(crate) struct NotFound {
    what: String,
    tried: Vec<PathBuf>,
}

impl std::error::Error for NotFound {}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tried: Vec<String> = self.tried.iter().map(|p| p.display().to_string()).collect();
        let tried = if tried.is_empty() { "nowhere".to_owned() } else { tried.join(", ") };
        write!(
            f,
            "spread-sys looked for {} of an installed Spread in: {tried}.\n\
             Set SPREAD_DIR to the folder that Spread was installed in (with include/sp.h and \
             lib/ in it), or SPREAD_INCLUDE_DIR and SPREAD_LIB_DIR to its folders; or have \
             pkg-config find its spread.pc.\n\
             To need no installed Spread, leave out the feature `system`: the library of this \
             project is bundled then.",
            self.what
        )
    }
}

/// The value of a variable, if it is set and not empty; cargo is told that it
/// counts.
fn variable(name: &str) -> Option<PathBuf> {
    println!("cargo::rerun-if-env-changed={name}");
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Finds the library: where the variables say, where pkg-config says, in the
/// usual folders.
pub(crate) fn find() -> Result<Found, NotFound> {
    let prefix = variable("SPREAD_DIR");
    let include = variable("SPREAD_INCLUDE_DIR");
    let lib = variable("SPREAD_LIB_DIR");
    let is_static = variable("SPREAD_STATIC").is_some_and(|value| value.as_os_str() != "0");

    let (mut includes, mut libs) = (Vec::new(), Vec::new());
    if let Some(prefix) = &prefix {
        includes.extend(includes_below(prefix));
        libs.extend(libs_below(prefix));
    } else if include.is_none() || lib.is_none() {
        let (package_includes, package_libs) = of_pkg_config();
        includes.extend(package_includes);
        libs.extend(package_libs);
        // What is installed here is of no use for another system.
        if env::var_os("HOST") == env::var_os("TARGET") {
            for prefix in PREFIXES.map(Path::new) {
                includes.extend(includes_below(prefix));
                libs.extend(libs_below(prefix));
            }
        }
    }
    // A folder that is named is the only one.
    let includes = include.map_or(includes, |folder| vec![folder]);
    let libs = lib.map_or(libs, |folder| vec![folder]);

    let include = includes.iter().find(|folder| folder.join("sp.h").is_file());
    let Some(include) = include.cloned() else {
        return Err(NotFound { what: "the header sp.h".to_owned(), tried: includes });
    };
    let found = libs.iter().find_map(|folder| library_in(folder, is_static));
    match found {
        Some((lib, name, file, is_static)) => Ok(Found { include, lib, name, file, is_static }),
        None => {
            let files: Vec<String> =
                LIBRARIES.iter().flat_map(|name| files_of(name, is_static)).map(|f| f.0).collect();
            Err(NotFound { what: files.join(" or "), tried: libs })
        }
    }
}

fn includes_below(prefix: &Path) -> [PathBuf; 2] {
    ["include", "include/spread"].map(|folder| prefix.join(folder))
}

fn libs_below(prefix: &Path) -> [PathBuf; 3] {
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    ["lib".to_owned(), "lib64".to_owned(), format!("lib/{arch}-linux-gnu")]
        .map(|folder| prefix.join(folder))
}

/// The folders that a `spread.pc` names.
fn of_pkg_config() -> (Vec<PathBuf>, Vec<PathBuf>) {
    let probe = pkg_config::Config::new().cargo_metadata(false).probe("spread");
    let Ok(package) = probe else {
        return Default::default();
    };
    let (mut includes, mut libs) = (package.include_paths, package.link_paths);
    // It leaves out folders that the compiler knows.
    includes.extend(pkg_config::get_variable("spread", "includedir").map(PathBuf::from));
    libs.extend(pkg_config::get_variable("spread", "libdir").map(PathBuf::from));
    let named = |folders: &mut Vec<PathBuf>| folders.retain(|folder| folder.is_absolute());
    named(&mut includes);
    named(&mut libs);
    (includes, libs)
}

/// The files that a library can be, and whether each is a static one.
fn files_of(name: &str, is_static: bool) -> Vec<(String, bool)> {
    let mut files = Vec::new();
    if !is_static {
        let suffix = if env::var("CARGO_CFG_TARGET_VENDOR").is_ok_and(|vendor| vendor == "apple") {
            "dylib"
        } else {
            "so"
        };
        files.push((format!("lib{name}.{suffix}"), false));
    }
    files.push((format!("lib{name}.a"), true));
    files
}

fn library_in(folder: &Path, is_static: bool) -> Option<(PathBuf, &'static str, PathBuf, bool)> {
    LIBRARIES.into_iter().find_map(|name| {
        files_of(name, is_static).into_iter().find_map(|(file, is_static)| {
            let file = folder.join(file);
            file.is_file().then(|| (folder.to_owned(), name, file, is_static))
        })
    })
}
