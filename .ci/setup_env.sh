#!/usr/bin/env bash
# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
# Builds .venv/ for `make`. Safe to run again: pip leaves alone what already fits.
#
#   PYTHON=python3.12        the interpreter to use (default: python3)
#   TORCH_INDEX=<url>        an extra package index for torch, e.g. PyTorch's CPU-only one
#
# In a sourced ROS 2 the environment sees ROS's own Python packages and installs none of them again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=.venv
python=${PYTHON:-python3}
# Variables of another environment's ROS wheels must not leak into this one.
unset _ROS_WHEELS_BOOTSTRAP_COMPLETE

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
    echo "setup: expected Python 3.10 or newer, got $("$python" --version 2>&1); run: make PYTHON=python3.12 ..." >&2
    exit 1
fi

sourced_ros=no
if [ -n "${ROS_DISTRO:-}" ] && "$python" -c 'import rclpy' 2>/dev/null; then
    sourced_ros=yes
fi

if [ -e "$venv/.sourced_ros" ] && [ "$(cat "$venv/.sourced_ros")" != "$sourced_ros" ]; then
    echo "setup: $venv was made $([ "$sourced_ros" = yes ] && echo without || echo on top of) a sourced ROS 2; making it anew"
    rm -rf "$venv"
fi
if [ ! -x "$venv/bin/python" ]; then
    if [ "$sourced_ros" = yes ]; then
        echo "setup: ROS 2 $ROS_DISTRO found; $venv sees its Python packages"
        "$python" -m venv --system-site-packages "$venv"
    else
        "$python" -m venv "$venv"
    fi
fi
echo "$sourced_ros" > "$venv/.sourced_ros"

constraints=$(mktemp)
trap 'rm -f "$constraints"' EXIT
cp constraints.txt "$constraints"
extras="test,bags,check,label,lerobot,eval,train,synth,openvino"
if [ "$sourced_ros" = yes ]; then
    # ROS's messages are compiled against the system's NumPy: a venv that shadows NumPy 1 with NumPy 2 crashes on import.
    if "$python" -c 'import numpy, sys; sys.exit(numpy.__version__.startswith("2"))' 2>/dev/null; then
        sed -i -E '/^(numpy|opencv-python-headless)==/d' "$constraints"
        printf 'numpy<2\nopencv-python-headless<4.12\n' >> "$constraints"
    fi
else
    extras="$extras,ros-wheels"
fi

pip() {
    "$venv/bin/python" -m pip --disable-pip-version-check "$@"
}
export PIP_CONSTRAINT=$constraints
pip install --quiet --upgrade setuptools wheel
# torch first and alone: whatever comes later must find it and leave it.
# shellcheck disable=SC2086  # TORCH_INDEX is one optional word
pip install --quiet torch ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"}
# sam2 asks for torchvision and, built in isolation, for a second torch. The trunk needs neither.
pip install --quiet numpy hydra-core iopath tqdm pillow
SAM2_BUILD_CUDA=0 pip install --quiet --no-build-isolation --no-deps sam2
# setuptools warns that folders here may shadow packages; they are the packages.
PYTHONWARNINGS=ignore pip install --quiet --no-build-isolation --editable ".[$extras]"

.ci/link_for_ros2.sh "$PWD/$venv"
# The packaged model is compiled now and not when the first node waits for it; without it that node does so.
"$venv/bin/python" -c 'from m4sam_core import SaliencyPipeline; SaliencyPipeline.from_name(progress=print)' || true
echo "setup: $venv is ready ($("$venv/bin/python" --version), torch $("$venv/bin/python" -c 'import torch; print(torch.__version__)'))"
