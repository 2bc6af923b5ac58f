# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
"""What all settings have in common: frozen, checked, and refused with their name."""

from __future__ import annotations

from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from m4sam_core.errors import ConfigError

C = TypeVar("C", bound="Config")


class Config(BaseModel):
    """Frozen settings; unknown keys are refused and named."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _no_word_for_a_number(cls, values: Any) -> Any:
        """YAML reads yes, on, no and off as booleans, which would pass for 1 and 0; as text they are refused."""
        if not isinstance(values, dict):
            return values
        return {
            name: str(value) if isinstance(value, bool) and cls._counts(name) else value
            for name, value in values.items()
        }

    @classmethod
    def _counts(cls, name: str) -> bool:
        field = cls.model_fields.get(name)
        kinds = set() if field is None else {field.annotation, *get_args(field.annotation)}
        return bool(kinds & {int, float}) and bool not in kinds

    @classmethod
    def parse(cls: type[C], values: dict[str, Any]) -> C:
        """Validate a plain dictionary.

        Raises:
            ConfigError: naming every bad key, the value given and the bound or the known keys.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(_explain(cls, error)) from None


def _explain(cls: type[BaseModel], error: ValidationError) -> str:
    lines = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"]) or cls.__name__
        if item["type"] == "extra_forbidden":
            owner: Any = cls
            for part in item["loc"][:-1]:
                nested = owner.model_fields.get(part) if hasattr(owner, "model_fields") else None
                owner = nested.annotation if nested is not None else None
            known = ", ".join(owner.model_fields) if hasattr(owner, "model_fields") else "see docs/parameters.md"
            lines.append(f"{where}: unknown setting; known ones here: {known}")
        else:
            lines.append(f"{where}: {item['msg']}, got {item['input']!r}")
    return "\n".join(lines)
