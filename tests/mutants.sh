#!/usr/bin/env bash
# Builds engines that make a mistake on purpose and requires the simulator to catch each of them
# with the seeds that the suite runs: tests/mutants.sh [MUTANT ...]
#
# A mutant is a feature of the engine; the program refuses to be built with one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ "$#" -eq 0 ]; then
    mapfile -t mutants < <(sed -n 's/^\(mutant-[a-z-]*\) = .*/\1/p' tests/Cargo.toml)
else
    mutants=("$@")
fi
escaped=()
for mutant in "${mutants[@]}"; do
    log=$(mktemp)
    if cargo test --quiet --locked -p holdfast-tests --features "$mutant" --test mutant -- \
        --nocapture >"$log" 2>&1; then
        printf '%-24s %s\n' "$mutant" "$(grep -m1 '^caught after' "$log")"
    else
        escaped+=("$mutant")
        tail -n 30 "$log"
    fi
    rm -f "$log"
done
[ "${#escaped[@]}" -eq 0 ] || { echo "not caught: ${escaped[*]}"; exit 1; }
