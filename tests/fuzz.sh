#!/usr/bin/env bash
# Fuzzes every decoder with libFuzzer: tests/fuzz.sh [SECONDS PER TARGET] [TARGET ...]
#
# Needs a C++ compiler for libFuzzer, which comes with the crate `libfuzzer-sys`; without one the
# same decoders run on changed seeds (`tests/tests/fuzz.rs`), more of them than in the tests.
# Inputs that reach new code are kept in CARGO_TARGET_DIR/fuzz/corpus, those that fail in
# CARGO_TARGET_DIR/fuzz/findings. Prints executions for each target and in all.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${1:-3}
[ "$#" -eq 0 ] || shift
target_dir=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
work=$target_dir/fuzz
mkdir -p "$work/findings"

HOLDFAST_FUZZ_SEEDS=$work/seeds \
    cargo test --quiet --locked --workspace --test fuzz no_decoder >"$work/seeds.log" 2>&1 ||
    { cat "$work/seeds.log"; exit 1; }

if ! RUSTC_WORKSPACE_WRAPPER=$PWD/tests/fuzz-instrument.sh cargo build --quiet --locked \
    --workspace --bin fuzz --features holdfast-tests/libfuzzer >"$work/build.log" 2>&1; then
    command -v "${CXX:-c++}" >/dev/null && { cat "$work/build.log"; exit 1; }
    echo "no C++ compiler, so no libFuzzer: changed seeds instead"
    HOLDFAST_FUZZ_ROUNDS=${HOLDFAST_FUZZ_ROUNDS:-20000} \
        cargo test --quiet --locked --workspace --test fuzz
    exit
fi

if [ "$#" -eq 0 ]; then
    mapfile -t targets < <(ls "$work/seeds")
else
    targets=("$@")
fi
total=0 failed=()
for name in "${targets[@]}"; do
    mkdir -p "$work/corpus/$name"
    log=$work/$name.log
    if HOLDFAST_FUZZ=$name "$target_dir/debug/fuzz" "$work/corpus/$name" "$work/seeds/$name" \
        -max_total_time="$seconds" -max_len=8192 -timeout=20 -rss_limit_mb=1024 -print_final_stats=1 \
        -artifact_prefix="$work/findings/$name-" >"$log" 2>&1; then
        :
    else
        failed+=("$name")
        grep -aE 'panicked|ERROR|Test unit written' -A2 "$log" | head -n 12
    fi
    ran=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -n 1)
    total=$((total + ${ran:-0}))
    printf '%-14s %10d executions, %s places in the code\n' "$name" "${ran:-0}" \
        "$(grep -aoE 'cov: [0-9]+' "$log" | tail -n 1 | cut -d' ' -f2)"
done
printf 'fuzzing: %d executions of %d targets, %d findings\n' "$total" "${#targets[@]}" "${#failed[@]}"
[ "${#failed[@]}" -eq 0 ] || { echo "failed: ${failed[*]}; inputs in $work/findings"; exit 1; }
