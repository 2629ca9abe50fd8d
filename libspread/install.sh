#!/bin/sh
# Builds libspread as a library for C and installs it:
#     libspread/install.sh [--prefix DIR] [--destdir DIR]
# PREFIX/lib/libspread.so, libspread.a and pkgconfig/spread.pc, and
# PREFIX/include/sp*.h; the prefix is /usr/local unless told otherwise. With a
# DESTDIR all of it goes below that folder, as packages want it. Programs that are
# linked with -ltspread-core or -lspread-core, the original's other names of the
# client library, get the same one.
set -eu

prefix=/usr/local
destdir=
while [ $# -gt 0 ]; do
    case $1 in
        --prefix) prefix=${2:?--prefix needs a folder}; shift 2 ;;
        --prefix=*) prefix=${1#*=}; shift ;;
        --destdir) destdir=${2:?--destdir needs a folder}; shift 2 ;;
        --destdir=*) destdir=${1#*=}; shift ;;
        *) echo "usage: $0 [--prefix DIR] [--destdir DIR]" >&2; exit 2 ;;
    esac
done
case $prefix in
    /*) ;;
    *) echo "$0: the prefix must begin with a /: $prefix" >&2; exit 2 ;;
esac

here=$(cd "$(dirname "$0")" && pwd)
lib=$destdir$prefix/lib
include=$destdir$prefix/include
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT

# Programs that were linked with Spread's own library ask for this name.
if [ "$(uname)" = Darwin ]; then
    so=libspread.3.dylib link=libspread.dylib suffixes='dylib 3.dylib a'
    name="-Wl,-install_name,$prefix/lib/$so"
else
    so=libspread.so.3 link=libspread.so suffixes='so so.3 a'
    name="-Wl,-soname,$so"
fi

compile() {
    cargo rustc --manifest-path "$here/Cargo.toml" --release --lib --features capi \
        --crate-type "$1" -- --emit "link=$2" $3
}
compile cdylib "$build/$so" "-C link-arg=$name"
compile staticlib "$build/libspread.a" "--print native-static-libs" 2>"$build/log" ||
    { cat "$build/log" >&2; exit 1; }
# What the linker needs along with the static library.
needs=$(sed -n 's/^note: native-static-libs: //p' "$build/log" | tail -n 1)

mkdir -p "$lib/pkgconfig" "$include"
install -m 755 "$build/$so" "$lib/$so"
ln -sf "$so" "$lib/$link"
install -m 644 "$build/libspread.a" "$lib/libspread.a"
for alias in libtspread-core libspread-core; do
    for suffix in $suffixes; do
        ln -sf "libspread.$suffix" "$lib/$alias.$suffix"
    done
done
install -m 644 "$here"/include/*.h "$include"
cat >"$lib/pkgconfig/spread.pc" <<END
prefix=$prefix
libdir=\${prefix}/lib
includedir=\${prefix}/include

Name: spread
Description: The C client library of the Spread toolkit
Version: 5.0.1
Libs: -L\${libdir} -lspread
Libs.private: $needs
Cflags: -I\${includedir}
END
echo "installed libspread in $destdir$prefix"
