#!/usr/bin/env bash
# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
# ROS 2 and this package, for whatever the container is told to run.
set -e
# shellcheck disable=SC1091
source "/opt/ros/$ROS_DISTRO/setup.bash"  # the official images set it
export AMENT_PREFIX_PATH=/opt/m4sam/.venv:$AMENT_PREFIX_PATH
exec "$@"
