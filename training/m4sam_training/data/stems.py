"""Matching frames whose files are named differently, and names that are safe to use as paths."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path


def safe_name(name: str) -> bool:
    """True for a name that is one plain path component: no separators, no "..", no control characters."""
    return bool(name) and name not in (".", "..") and not re.search(r"[/\\\x00-\x1f]", name)


def match_diverging(files: dict[str, dict[str, Path]], note: Callable[[Path, str, bool], None]) -> None:
    """Rename diverging stems to the rgb's where their frame number says so without doubt."""
    lonely = {stem for stem in files["rgb"] if any(stem not in names for names in files.values())}
    by_number = unique_numbers(lonely)
    for role, names in files.items():
        if role == "rgb":
            continue
        strangers = unique_numbers({stem for stem in names if stem not in files["rgb"]})
        for number, stem in strangers.items():
            target = by_number.get(number)
            if target is not None and target not in names:
                path = names.pop(stem)
                names[target] = path
                note(path, f"{role} name diverges, matched by frame number: {path.stem} -> {target}", True)


def unique_numbers(stems: set[str]) -> dict[int, str]:
    """Trailing number -> stem, for numbers that only one stem has."""
    matches = [(re.search(r"(\d{1,19})\D*$", stem), stem) for stem in stems]
    numbered = [(int(match.group(1)), stem) for match, stem in matches if match]
    tally = Counter(number for number, _ in numbered)
    return {number: stem for number, stem in numbered if tally[number] == 1}
