#!/bin/sh
# Builds spreadd and installs it with its man pages, a sample configuration and a unit of
# systemd:
#     spreadd/install.sh [--prefix DIR] [--sysconfdir DIR] [--unitdir DIR] [--destdir DIR]
#         [--features LIST]
# The prefix is /usr/local unless told otherwise, the sysconfdir /etc, and the unitdir
# PREFIX/lib/systemd/system. With a DESTDIR all of it goes below that folder, as packages want
# it. A configuration that is there already is left alone. It is built with the features in LIST,
# such as tls, beside the default ones. SPREADD names a program that is installed instead of being
# built.
set -eu

usage() {
    echo "usage: $0 [--prefix DIR] [--sysconfdir DIR] [--unitdir DIR] [--destdir DIR]" \
        "[--features LIST]" >&2
    exit 2
}
prefix=/usr/local sysconfdir=/etc unitdir= destdir= features=
while [ $# -gt 0 ]; do
    case $1 in
        --prefix | --sysconfdir | --unitdir | --destdir | --features)
            [ $# -ge 2 ] || usage
            option=$1 value=$2
            shift 2 ;;
        --prefix=* | --sysconfdir=* | --unitdir=* | --destdir=* | --features=*)
            option=${1%%=*} value=${1#*=}
            shift ;;
        *) usage ;;
    esac
    if [ "$option" = --features ]; then
        features=$value
        continue
    fi
    case $value in
        /*) ;;
        *) echo "$0: the folder must begin with a /: $value" >&2; exit 2 ;;
    esac
    # The prefix and the sysconfdir stand in the unit, where other characters have a meaning.
    case $option=$value in
        --prefix=*[!A-Za-z0-9/._+-]* | --sysconfdir=*[!A-Za-z0-9/._+-]*)
            echo "$0: $option can have letters, digits and / . _ + -: $value" >&2
            exit 2 ;;
    esac
    case $option in
        --prefix) prefix=$value ;;
        --sysconfdir) sysconfdir=$value ;;
        --unitdir) unitdir=$value ;;
        --destdir) destdir=$value ;;
    esac
done
: "${unitdir:=$prefix/lib/systemd/system}"

here=$(cd "$(dirname "$0")" && pwd)
program=${SPREADD-}
if [ -n "$program" ] && [ -n "$features" ]; then
    echo "$0: --features is for a program that is built, and SPREADD is $program" >&2
    exit 2
fi
if [ -z "$program" ]; then
    (cd "$here" && cargo build --release --locked -p spreadd --features "$features")
    target=$(cd "$here" && cargo metadata --format-version 1 --no-deps |
        sed -E 's/.*"target_directory":"([^"]*)".*/\1/')
    program=$target/release/spreadd
fi

put() { # mode, file, destination
    mkdir -p "$(dirname "$destdir$3")"
    install -m "$1" "$2" "$destdir$3"
}
put 755 "$program" "$prefix/bin/spreadd"
put 644 "$here/man/spreadd.8" "$prefix/share/man/man8/spreadd.8"
put 644 "$here/man/spread.conf.5" "$prefix/share/man/man5/spread.conf.5"
for sample in spread.conf spread.access_ip; do
    put 644 "$here/packaging/$sample" "$prefix/share/doc/spreadd/$sample"
done
if [ ! -e "$destdir$sysconfdir/spread.conf" ]; then
    put 644 "$here/packaging/spread.conf" "$sysconfdir/spread.conf"
fi
for unit in spreadd.service spreadd.socket; do
    sed -e "s|@BINDIR@|$prefix/bin|" -e "s|@SYSCONFDIR@|$sysconfdir|" \
        "$here/packaging/$unit" >"$destdir$prefix/.unit"
    put 644 "$destdir$prefix/.unit" "$unitdir/$unit"
    rm "$destdir$prefix/.unit"
done

put 644 "$here/packaging/sysusers.conf" "$prefix/lib/sysusers.d/spreadd.conf"

cat <<END
spreadd is in $prefix/bin, its configuration is $sysconfdir/spread.conf.
    systemd-sysusers && systemctl daemon-reload
    systemctl enable --now spreadd          or, to have systemd listen: spreadd.socket
    man spreadd
END
