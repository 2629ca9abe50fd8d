//! Finds the library, or takes the bundled one; what it tells is described in
//! `src/lib.rs`.

#[cfg(any(feature = "system", feature = "bindgen"))]
#[path = "build/bindings.rs"]
mod bindings;
#[cfg(feature = "system")]
#[path = "build/find.rs"]
mod find;
#[cfg(feature = "system")]
#[path = "build/system.rs"]
mod system;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=src/bindings.rs");
    #[cfg(feature = "system")]
    if let Err(error) = system::build() {
        // A line each, as cargo wants it.
        for line in error.to_string().lines() {
            println!("cargo::error={line}");
        }
    }
    #[cfg(not(feature = "system"))]
    bundled();
}

/// Tells where the headers of the bundled library are.
#[cfg(not(feature = "system"))]
fn bundled() {
    // From libspread, which is a dependency if it is bundled.
    if let Some(include) = std::env::var_os("DEP_LIBSPREAD_INCLUDE") {
        let include = include.into_string().expect("cargo's variables are text");
        println!("cargo::metadata=include={include}");
        #[cfg(feature = "bindgen")]
        {
            println!("cargo::rerun-if-changed={include}");
            bindings::generate(std::path::Path::new(&include)).expect("bindings to sp.h");
        }
    }
}
