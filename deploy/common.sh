# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# What deploy/setup, deploy/demo and tests/run share: words on the terminal, where the cache is, and one build.
# Sourced, never run. Sets top (the source tree) and cache; the caller sets prog (its name in messages).

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cache=${ROLEMESH_CACHE:-${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/rolemesh}
case $cache in /*) ;; *) cache=$PWD/$cache ;; esac

say() { printf '%s: %s\n' "${prog:?}" "$*" >&2; }

# die STATUS TEXT: one line that says what to do next, and out. 1: it failed, 2: asked wrongly or may not.
die() {
    local status=$1
    shift
    say "$*"
    exit "$status"
}

# usage_of FILE: the script's own head comment after its SPDX line, as the text of --help.
usage_of() { sed -n '3,/^$/{s/^# \{0,1\}//;p}' "$1"; }

# setup_says KEY: what the last deploy/setup wrote down (llama, cmake); empty before the first.
setup_says() {
    [ ! -r "$cache/setup.stamp" ] || sed -n "s/^$1=//p" "$cache/setup.stamp"
}

# build_tree PRESET LOG [TARGET...]: configures and builds into build/PRESET (no TARGET: everything); quiet, all output
# to LOG, the end of it also here on failure. ROLEMESH_WERROR=ON in the environment makes warnings errors.
build_tree() {
    local preset=$1 log=$2 args launcher=() targets=()
    shift 2
    [ $# -eq 0 ] || targets=(--target "$@")
    read -r -a args <<<"$(setup_says cmake)"
    if [ -z "${CMAKE_C_COMPILER_LAUNCHER:-}" ] && command -v ccache >/dev/null; then
        launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
    fi
    say "building ($preset)"
    if ! (cd "$top" && cmake --preset "$preset" "${launcher[@]}" "${args[@]}" \
        ${ROLEMESH_WERROR:+"-DROLEMESH_WERROR=$ROLEMESH_WERROR"} &&
        cmake --build --preset "$preset" "${targets[@]}") >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        say "the $preset build failed; all of its output is in $log"
        return 1
    fi
}
