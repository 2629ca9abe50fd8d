#!/usr/bin/env bash
# The daemon in a container passes the tests, from outside. SPREAD_IMAGE tests
# another image of a Spread daemon that listens at 4803. `ci/docker.sh image`
# only builds the image, and leaves it under the tags spreadd:VERSION, spreadd:MAJOR.MINOR
# and spreadd:latest.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! docker version >/dev/null 2>&1; then
    echo '!!! ci/docker.sh: NO DOCKER ENGINE ANSWERS, so the container is NOT TESTED !!!'
    exit 0
fi

# build TAG: the image of a static daemon.
build() {
    local context target=x86_64-unknown-linux-gnu folder=${CARGO_TARGET_DIR:-target}
    [ "$(uname -m)" = aarch64 ] && target=aarch64-unknown-linux-gnu
    RUSTFLAGS=-Ctarget-feature=+crt-static \
        cargo build --release --target "$target" -p spreadd --features tls
    context=$(mktemp -d)
    mkdir -p "$context/root/tmp"
    chmod 1777 "$context/root/tmp"
    cp "$folder/$target/release/spreadd" "$context/root"
    docker build --quiet --tag "$1" --file ci/Dockerfile \
        --build-arg "VERSION=$version" --build-arg "REVISION=$(git rev-parse HEAD)" \
        "$context" || return
    rm -r "$context"
}

version=$(cargo metadata --format-version 1 --no-deps |
    sed -E 's/.*"name":"spreadd","version":"([^"]*)".*/\1/')
if [ "${1-}" = image ]; then
    build "spreadd:$version"
    docker tag "spreadd:$version" "spreadd:${version%.*}"
    docker tag "spreadd:$version" spreadd:latest
    exit
fi

container=spreadd-test-$$
log=$(mktemp)
built=
clean_up() {
    local code=$?
    if [ "$code" != 0 ]; then
        echo "== what $container logged"
        docker logs "$container" 2>&1 || true
    fi
    rm -f "$log"
    docker rm --force --volumes "$container" >/dev/null 2>&1 || true
    [ -z "$built" ] || docker rmi --force "$built" >/dev/null 2>&1 || true
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

image=${SPREAD_IMAGE-}
if [ -z "$image" ]; then
    image=$container
    built=$image
    build "$image"
fi
docker run --detach --name "$container" --read-only --tmpfs /tmp --cap-drop ALL \
    --publish 127.0.0.1::4803 "$image" >/dev/null
address=$(docker port "$container" 4803/tcp | head -n 1)
port=${address##*:}

# An image without a health check is taken to be well once it takes connections.
is_well() {
    case $(docker inspect --format '{{if .State.Health}}{{.State.Health.Status}}{{end}}' "$container") in
        healthy) return 0 ;;
        '') (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null ;;
        *) return 1 ;;
    esac
}
for attempt in $(seq 120); do
    is_well && break
    if [ "$(docker inspect --format '{{.State.Running}}' "$container")" != true ]; then
        echo "ci/docker.sh: $image has ended"
        exit 1
    fi
    if [ "$attempt" = 120 ]; then
        echo "ci/docker.sh: $image is not well after a minute"
        exit 1
    fi
    sleep 0.5
done
echo "== $image is well at $port@localhost"
if [ -n "$built" ]; then
    label=$(docker inspect --format '{{index .Config.Labels "org.opencontainers.image.version"}}' "$image")
    [ "$label" = "$version" ] || { echo "ci/docker.sh: the image is labelled $label"; exit 1; }
fi

# The tests that take a daemon from outside, once: it is the same for each transport. Others bring
# daemons of their own, as these modules do.
tests=(allocations auth events examples groups handshake life_cycle live memory poll receive scatter
    send views)
own=(unix over_tcp authentication disconnecting restarts session_attempts session_faults)
own=("${own[@]/#/--skip=}")
export SPREAD_DAEMON=$port@localhost
cargo test --workspace "${tests[@]/#/--test=}"
for library in native sys; do
    SPREAD_LIBRARY=$library cargo test --workspace --test e2e -- "${own[@]/%/::}"
done
modules=(bench chat doctor errors publish request sub)
cargo test --workspace --test program -- "${modules[@]/%/::}" | tee "$log"
# A module of which no test has passed is refused.
for module in "${modules[@]}"; do
    grep -q "^test $module::.* ok$" "$log" || {
        echo "ci/docker.sh: no test of $module has passed" >&2
        exit 1
    }
done
echo "== the tests have passed against $image"
