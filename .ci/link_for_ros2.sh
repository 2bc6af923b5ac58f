#!/usr/bin/env bash
# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
# usage: .ci/link_for_ros2.sh PREFIX
# An editable install brings no data files, and ROS looks for executables in lib/<package> of the prefix: link both, so that
# `AMENT_PREFIX_PATH=$PWD/.venv:$AMENT_PREFIX_PATH ros2 launch m4sam_ros saliency.launch.py` works from here. ros2launch does
# not enter folders that are links, so every file is linked into a real folder.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
prefix=$1

rm -rf "$prefix/share/m4sam_ros" "$prefix/lib/m4sam_ros"
mkdir -p "$prefix/lib/m4sam_ros" "$prefix/share/m4sam_ros" "$prefix/share/ament_index/resource_index/packages"
ln -sfn "$PWD/resource/m4sam_ros" "$prefix/share/ament_index/resource_index/packages/m4sam_ros"
find launch config package.xml -type f -not -path '*/__pycache__/*' | while read -r file; do
    mkdir -p "$prefix/share/m4sam_ros/$(dirname "$file")"
    ln -sfn "$PWD/$file" "$prefix/share/m4sam_ros/$file"
done
for executable in m4sam saliency_node play record viewer; do
    ln -sfn "../../bin/$executable" "$prefix/lib/m4sam_ros/$executable"
done
