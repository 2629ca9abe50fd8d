#!/bin/sh
# Builds libspread as a library for C and installs it:
#     libspread/install.sh [--prefix DIR] [--libdir DIR] [--destdir DIR]
# LIBDIR has the shared and the static library under the three names of the original,
# libspread, libtspread-core and libspread-core, and pkgconfig/spread.pc;
# PREFIX/include has the headers. The prefix is /usr/local unless told otherwise, and
# the libdir PREFIX/lib. With a DESTDIR all of it goes below that folder, as packages
# want it. CC, LD, OBJCOPY and AR name the tools.
set -eu

usage() {
    echo "usage: $0 [--prefix DIR] [--libdir DIR] [--destdir DIR]" >&2
    exit 2
}
prefix=/usr/local libdir= destdir=
while [ $# -gt 0 ]; do
    case $1 in
        --prefix | --libdir | --destdir)
            [ $# -ge 2 ] || usage
            option=$1 value=$2
            shift 2 ;;
        --prefix=* | --libdir=* | --destdir=*)
            option=${1%%=*} value=${1#*=}
            shift ;;
        *) usage ;;
    esac
    [ -n "$value" ] || usage
    case $option in
        --prefix) prefix=$value ;;
        --libdir) libdir=$value ;;
        --destdir) destdir=$value ;;
    esac
done
: "${libdir:=$prefix/lib}"
for dir in "$prefix" "$libdir"; do
    case $dir in
        /*) ;;
        *) echo "$0: the folder must begin with a /: $dir" >&2; exit 2 ;;
    esac
done

here=$(cd "$(dirname "$0")" && pwd)
lib=$destdir$libdir
include=$destdir$prefix/include
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
aliases='libtspread-core libspread-core'

# Programs that were linked with Spread's own library ask for these names.
if [ "$(uname)" = Darwin ]; then
    so=libspread.3.dylib links='libspread.dylib'
    name="-Wl,-install_name,$libdir/$so"
else
    so=libspread.so.3.0.0 links='libspread.so.3 libspread.so'
    name='-Wl,-soname,libspread.so.3'
fi

# One unit of code, from which the linker drops what nothing uses.
export CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1
# A copy of the file that cargo names, so that a second call finds it compiled.
compile() { # crate type, file, options
    crate_type=$1 file=$2
    shift 2
    cargo rustc --manifest-path "$here/Cargo.toml" --release --lib --features capi \
        --crate-type "$crate_type" --message-format json-render-diagnostics -- "$@" \
        >"$build/artifacts" || return
    made=$(sed -n '/"name":"libspread"/s/.*"filenames":\["\([^"]*\)".*/\1/p' "$build/artifacts")
    cp "$made" "$file"
}
compile cdylib "$build/$so" -C strip=debuginfo -C "link-arg=$name"
compile staticlib "$build/all.a" --print native-static-libs 2>"$build/log" ||
    { cat "$build/log" >&2; exit 1; }
# What the linker needs along with the static library. The compiler adds libgcc and libc
# itself, in the form that suits the program: there is no static libgcc_s.
needs=$(sed -n 's/^note: native-static-libs: //p' "$build/log" | tail -n 1 |
    sed -E 's/-l(gcc_s|c)( |$)//g; s/ +$//')

if [ "$(uname)" = Darwin ]; then
    strip -S -o "$build/libspread.a" "$build/all.a"
else
    # Of Rust's standard library, the archive keeps what the functions need, in one
    # object, whose other symbols are local: it cannot clash with another Rust library.
    # shellcheck disable=SC2046
    "${LD:-ld}" -r --gc-sections $(sed 's/^/-u /' "$here/symbols.txt") \
        -o "$build/spread.o" "$build/all.a"
    "${OBJCOPY:-objcopy}" --strip-debug --remove-section=.llvmbc --remove-section=.llvmcmd \
        --keep-global-symbols="$here/symbols.txt" "$build/spread.o"
    "${AR:-ar}" rcs "$build/libspread.a" "$build/spread.o"
fi

mkdir -p "$lib/pkgconfig" "$include"
install -m 755 "$build/$so" "$lib/$so"
install -m 644 "$build/libspread.a" "$lib/libspread.a"
for link in $links; do
    ln -sf "$so" "$lib/$link"
done
for alias in $aliases; do
    ln -sf libspread.a "$lib/$alias.a"
    if [ "$(uname)" = Darwin ]; then
        ln -sf "$so" "$lib/$alias.3.dylib"
        ln -sf "$so" "$lib/$alias.dylib"
        continue
    fi
    # New programs are linked with libspread itself. Old ones ask the loader for the
    # other name; ldconfig goes by the soname, so a link would not do.
    ln -sf "$so" "$lib/$alias.so"
    "${CC:-cc}" -shared -nostdlib -o "$build/$alias" "-Wl,-soname,$alias.so.3" \
        '-Wl,-rpath,$ORIGIN' -Wl,--no-as-needed "$build/$so"
    install -m 755 "$build/$alias" "$lib/$alias.so.3.0.0"
    ln -sf "$alias.so.3.0.0" "$lib/$alias.so.3"
done
install -m 644 "$here"/include/*.h "$include"
cat >"$lib/pkgconfig/spread.pc" <<END
prefix=$prefix
libdir=$libdir
includedir=\${prefix}/include

Name: spread
Description: The C client library of the Spread toolkit, with Flush Spread
Version: 5.0.1
Libs: -L\${libdir} -lspread
Libs.private: $needs
Cflags: -I\${includedir}
END

echo "installed libspread in $lib and $include"
[ -z "$destdir" ] && [ "$(uname)" != Darwin ] || exit 0
cat <<END
Programs find the shared library at run time if one of these is done:
  - if the loader searches $libdir (see /etc/ld.so.conf): run ldconfig, as root
  - link them with -Wl,-rpath,$libdir
  - run them with LD_LIBRARY_PATH=$libdir
pkg-config finds it if PKG_CONFIG_PATH has $libdir/pkgconfig.
END
