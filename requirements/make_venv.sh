#!/usr/bin/env bash
# Bring VENV to the state of REQUIREMENTS and install this project into it, editable.
#   requirements/make_venv.sh VENV REQUIREMENTS [PYTHON]
# An existing VENV is kept, made by hand or not, unless PYTHON is of another version.
set -euo pipefail
venv=$1
requirements=$2
python=${3:-}
supported='import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))'
version='import sys; print("%d.%d" % sys.version_info[:2])'

die() {
    echo "error: $*" >&2
    exit 2
}

# No answer at all (an absent interpreter, or the stub of a version manager) counts as unsupported.
is_supported() { "$1" -c "$supported" >/dev/null 2>&1; }

if [ -z "$python" ] && [ ! -x "$venv/bin/python" ]; then
    for candidate in python3 python3.11 python3.12 python3.10 python; do
        if is_supported "$candidate"; then
            python=$candidate
            break
        fi
    done
    [ -n "$python" ] || die "no Python 3.10, 3.11 or 3.12 found on PATH." \
        "Install one, or name it: make test PYTHON=/path/to/python3.11"
fi

if [ -n "$python" ]; then
    found=$("$python" -c "$version" 2>/dev/null) || die "PYTHON=$python does not run."
    is_supported "$python" || die "PYTHON=$python is Python $found; 3.10, 3.11 or 3.12 is needed."
    if [ ! -x "$venv/bin/python" ] || [ "$("$venv/bin/python" -c "$version" || true)" != "$found" ]; then
        echo "== making $venv with Python $found"
        "$python" -m venv --clear "$venv" \
            || die "'$python -m venv' failed. On Debian and Ubuntu it comes with python3-venv."
    fi
fi
is_supported "$venv/bin/python" || die "$venv is not of Python 3.10, 3.11 or 3.12." \
    "Run 'make clean', then again with PYTHON=/path/to/python3.11"

pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }
echo "== installing the tested stack into $venv (about 3 GB to download the first time)"
pip install -r "$requirements"

# OpenCV's usual build wants the system's libGL, which a bare machine lacks; its headless build is
# the same module without windows.
if ! "$venv/bin/python" -c 'import cv2' >/dev/null 2>&1; then
    pinned=$(sed -n 's/^opencv-python==//p' "$requirements")
    echo "== cv2 does not import here; putting opencv-python-headless in its place"
    pip uninstall -y opencv-python
    pip install --force-reinstall --no-deps "opencv-python-headless==$pinned"
    "$venv/bin/python" -c 'import cv2'
fi

echo "== installing mmickd from this folder (editable)"
pip install --quiet --no-deps --no-build-isolation --editable .
