#!/usr/bin/env bash
# Shows holdfast at work: a real tree is backed up, listed, restored, compared and checked; then a policy
# does the same and proves it.
#
#   tests/try.sh [FOLDER]     FOLDER is only read; without one the project's own crates/ are taken
#
# Everything is written below one new folder, which is removed at the end.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tree=$(realpath -- "${1:-crates}")
[ -d "$tree" ] || { echo "$tree is no folder" >&2; exit 2; }

echo "1. building holdfast (once: some minutes on a new machine)"
cargo build --quiet --release --locked --bin holdfast
target=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
holdfast() { "$target/release/holdfast" "$@"; }

work=$(mktemp -d "${TMPDIR:-/tmp}/holdfast-try.XXXXXX")
trap 'chmod -R u+w "$work" 2>/dev/null || true; rm -rf "$work"' EXIT
for name in $(compgen -e HOLDFAST_ || true); do unset "$name"; done
export HOLDFAST_REPOSITORY="$work/repository" HOLDFAST_CACHE_DIR="$work/cache"
export HOLDFAST_PASSWORD="correct horse battery staple"

printf '\n2. creating an encrypted repository, with a recovery kit\n'
holdfast init --kit "$work/kit.txt"

printf '\n3. backing up %s\n' "$tree"
holdfast backup "$tree"

printf '\n4. backing it up again: nothing changed, so nothing is read or stored\n'
holdfast backup "$tree"

printf '\n5. what there is now\n'
holdfast snapshots
holdfast ls "latest:$tree"

printf '\n6. restoring the newest snapshot into an empty folder\n'
holdfast restore "latest:$tree" --target "$work/restored" --verify

printf '\n7. comparing what was restored with the original\n'
diff -r --no-dereference "$tree" "$work/restored"
echo "diff: every byte is the same"
if command -v rsync >/dev/null; then
    # The folder itself is left out: its time is that of the folder made for the restore.
    differing=$(rsync -aHAXn --itemize-changes --delete "$tree/" "$work/restored/")
    differing=$(grep -v ' \./$' <<<"$differing" || true)
    [ -z "$differing" ] || { printf '%s\n' "$differing"; exit 1; }
    echo "rsync: so are owners, modes, times, links, attributes and ACLs"
fi

printf '\n8. checking the repository, reading all data\n'
holdfast check --read-data

printf '\n9. the same by a policy: backed up, restored for a proof, promises held against what was measured\n'
# In a home of its own, so that nothing of it stays.
env -u HOLDFAST_REPOSITORY -u HOLDFAST_PASSWORD -u XDG_STATE_HOME HOME="$work/home" \
    "$target/release/holdfast" run policies/quickstart.yaml

printf '\nDone: %s came back whole. The repository took %s; it is removed now.\n' \
    "$tree" "$(du -sh "$work/repository" | cut -f1)"
