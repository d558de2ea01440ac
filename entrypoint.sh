#!/bin/sh
# `darwin` in the worker's image, with the kernels that were compiled into it.
#
# numba takes compiled code only from a folder that it can write to, so it goes to the scratch volume first (a few
# hundred kB). glibc's loader knows the CPU's level; on another CPU the kernels are compiled for it at their first use.
set -eu
levels=$(/lib64/ld-linux-x86-64.so.2 --help 2>/dev/null | sed -n 's/^ *\(x86-64-v[34]\) (supported.*/\1/p')
for level in $levels; do  # the best first
    export NUMBA_CPU_NAME="$level" NUMBA_CPU_FEATURES=
    mkdir -p "$NUMBA_CACHE_DIR"
    cp -R /opt/darwin/kernels/. "$NUMBA_CACHE_DIR"
    break
done
exec darwin "$@"
