#!/usr/bin/env bash
# Connections over TCP beside those over TLS, in turns, at one spreadd: ping-pong and flood. It takes
# openssl; arguments go to spreadctl bench, instead of those below.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- --size 64,16384 --count 20000 --warm-up 1000 --runs 7
programs=${CARGO_TARGET_DIR:-$PWD/target}/release
cargo build --release -p spreadd -p spreadctl --features spreadd/tls,spreadctl/tls

folder=$(mktemp -d)
daemon=
clean_up() {
    [ -z "$daemon" ] || { kill "$daemon" && wait "$daemon"; } || true
    rm -r "$folder"
}
trap clean_up EXIT
key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
openssl req -x509 "${key[@]}" -days 1 -subj /CN=authority -keyout "$folder/ca.key" \
    -out "$folder/ca.pem" 2>/dev/null
openssl req "${key[@]}" -subj /CN=daemon -keyout "$folder/key.pem" -out "$folder/request" 2>/dev/null
echo subjectAltName=IP:127.0.0.1 >"$folder/names"
openssl x509 -req -in "$folder/request" -days 1 -CA "$folder/ca.pem" -CAkey "$folder/ca.key" \
    -CAcreateserial -extfile "$folder/names" -out "$folder/cert.pem" 2>/dev/null

mkfifo "$folder/told"
"$programs/spreadd" --no-config --port 0 --unix-dir "$folder" --tls-port 0 \
    --tls-cert "$folder/cert.pem" --tls-key "$folder/key.pem" >"$folder/told" &
daemon=$!
{
    read -r _ _ _ _ plain _
    read -r _ _ _ tls
} <"$folder/told"

# The clients of the second side are the same, with a variable that says whom to trust.
cat >"$folder/over_tls" <<EOF
#!/bin/sh
SPREAD_TLS_CA=$folder/ca.pem exec $programs/spreadctl bench "\$@"
EOF
chmod +x "$folder/over_tls"
"$programs/spreadctl" bench flood pingpong --daemon "$plain" --versus "$tls" \
    --versus-client "$folder/over_tls" --daemon-pid "$daemon" --versus-pid "$daemon" \
    --labels TCP,TLS "$@"
