"""Every target of the fuzzer by its name."""

from __future__ import annotations

from fuzz.target import Target
from fuzz.targets import folders, graphs, media, tables, text

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        media.IMAGES,
        media.AUDIO,
        media.VIDEO,
        folders.TOKENIZERS,
        folders.CONFIGS,
        graphs.GRAPHS,
        tables.TABLES,
        text.GRAMMARS,
        text.TEMPLATES,
    )
}
