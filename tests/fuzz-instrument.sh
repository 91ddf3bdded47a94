#!/bin/sh
# Called by cargo as the compiler of our own crates (RUSTC_WORKSPACE_WRAPPER): tells it to note
# which code an input reaches, as libFuzzer wants it. Works with the stable compiler.
exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares
