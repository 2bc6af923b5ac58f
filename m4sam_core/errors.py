# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""The error tree. Every message reads ``what: expected X, got Y; do Z``."""


class M4SamError(Exception):
    """Base of every error this project raises on purpose."""


class ConfigError(M4SamError, ValueError):
    """A setting is unknown, of the wrong type, or out of range."""


class CheckpointError(M4SamError):
    """A weights file is missing, damaged, hostile, or made for another model."""


class InputError(M4SamError, ValueError):
    """An image, depth map or clip cannot be used as given."""


class StreamError(M4SamError):
    """The stream was used out of order, e.g. a frame after close."""


class DeviceError(M4SamError):
    """The device asked for is not there, cannot do the arithmetic asked for, or is out of memory."""
