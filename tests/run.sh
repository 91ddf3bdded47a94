#!/usr/bin/env bash
# Installs what the tests need, then runs all of them.
#
# What is given after it goes to `cargo nextest run`: a part of a test's name, or --profile ci.
# Debian packages are installed only by root. The tests run in folders of their own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

need=()
for pair in setfacl:acl getfattr:attr rsync:rsync setcap:libcap2-bin; do
    # Some of them lie where only root's PATH looks.
    PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%%:*}" >/dev/null || need+=("${pair##*:}")
done
if [ "${#need[@]}" -gt 0 ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing ${need[*]}"
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
            --no-install-recommends "${need[@]}"; } </dev/null >/dev/null ||
            echo "not installed: ${need[*]}; tests that need them will fail"
    else
        echo "please install ${need[*]}: tests that need them will fail"
    fi
fi
if ! cargo nextest --version >/dev/null 2>&1; then
    echo "installing cargo-nextest"
    env -u CARGO_TARGET_DIR cargo install --quiet --locked cargo-nextest
fi

# The tests, and the real program for those that run it from outside.
cargo build --locked --workspace --tests --bins
target=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
export HOLDFAST_BIN="$target/debug/holdfast"
exec cargo nextest run --locked --workspace "$@" </dev/null
