"""Write what is generated of the documentation: a page a task, the list of tasks, the command line, files in README.md.

    python -m tools.write_docs            # writes what changed
    python -m tools.write_docs --check    # exit code 1 where a page is not what it should be

Everything comes from the tasks' records (`TaskSpec`), their options' docstrings, and the commands' own help.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from onnxpipe.cli import COMMANDS
from onnxpipe.cli import main as command_line
from onnxpipe.tasks.base.option_docs import OptionDoc, option_docs
from onnxpipe.tasks.base.spec import TaskSpec
from onnxpipe.tasks.registry import aliases_of, all_tasks

ROOT = Path(__file__).resolve().parents[1]
_START, _END = "<!-- tasks:start -->", "<!-- tasks:end -->"
_FILE = re.compile(r"^(<!-- file: (\S+) -->\n```\w+\n).*?^```$", re.M | re.S)
_TITLES = {
    "text": "Text", "image": "Images", "multimodal": "Images with text", "video": "Video", "audio": "Audio",
    "table": "Tables",
}  # fmt: skip


def pages() -> dict[Path, str]:
    """Every generated file with the text that it should have."""
    docs, readme = ROOT / "docs", ROOT / "README.md"
    made = {docs / "tasks" / f"{spec.name}.md": _task_page(spec) for spec in all_tasks()}
    made[docs / "tasks" / "index.md"] = f"# Tasks\n\n{_task_list('')}"
    made[docs / "cli.md"] = _cli_page()
    before, rest = readme.read_text(encoding="utf-8").split(_START)
    made[readme] = _FILE.sub(_with_file, f"{before}{_START}\n{_task_list('docs/tasks/')}{_END}{rest.split(_END)[1]}")
    return made


def _with_file(block: re.Match[str]) -> str:
    """A block of code that is a file, with the file's text."""
    return f"{block[1]}{(ROOT / block[2]).read_text(encoding='utf-8')}```"


def _task_list(folder: str) -> str:
    """A line a task, grouped by what an input is."""
    groups = {title: [spec for spec in all_tasks() if spec.input == kind] for kind, title in _TITLES.items()}
    return "\n".join(
        f"**{title}**\n\n" + "".join(f"- [{spec.name}]({folder}{spec.name}.md): {spec.help}\n" for spec in specs)
        for title, specs in groups.items()
        if specs
    )


def _task_page(spec: TaskSpec) -> str:
    cls = spec.pipeline
    parts = [
        f"# {spec.name}",
        spec.help,
        _facts(spec),
        "## Use",
        f"```python\nfrom onnxpipe import pipeline\n\npipe = pipeline({_arguments(spec)})\n"
        f"print(pipe({spec.example}))\n```",
        "A list gives a list of answers, a generator or a dataset a stream of them; `batch_size=`, `num_workers=` and "
        '`on_error="return"` are options of every call.',
        "## Answer",
        _prose(inspect.getdoc(cls) or ""),
        "## Options",
        "Given to `pipeline()` they hold for every call, given to a call for that one.",
        _option_table(option_docs(cls.Options)),
        "## Command line",
        f"```text\n{_help(['run', spec.name])}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _named(spec: TaskSpec) -> str:
    return "translation_en_to_fr" if spec.languages and isinstance(spec.default_model, dict) else spec.name


def _arguments(spec: TaskSpec) -> str:
    """The arguments of `pipeline()`."""
    return f'"{_named(spec)}", model="{_model(spec)}"' if spec.has_model else f'"{spec.name}"'


def _model(spec: TaskSpec) -> str:
    default = spec.default_model
    if isinstance(default, dict):
        default = next(iter(default.values()))
    return default[0] if default else "MODEL"


def _facts(spec: TaskSpec) -> str:
    facts = {
        "Also called": ", ".join(f"`{alias}`" for alias in aliases_of(spec.name)),
        "Class": f"`{spec.pipeline.__name__}`",
        "Models": ", ".join(f"`{cls.__name__}`" for cls in spec.auto_classes),
        "Model by default": f"`{_model(spec)}`" if spec.has_model else "none is needed",
    }
    return "| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in facts.items() if value)


def _option_table(options: list[OptionDoc]) -> str:
    rows = (f"| `{o.name}` | `{o.type}` | {_code(o.default)} | {_cell(_sentence(o.text))} |" for o in options)
    table = "\n".join(row.replace(" | None`", r" \| None`") for row in map(_escape_types, rows))
    return f"| option | type | default | |\n|---|---|---|---|\n{table}" if options else "None of its own."


def _escape_types(row: str) -> str:
    """Escape the bars of a type, which would end its cell."""
    return re.sub(r"`[^`]*`", lambda found: found[0].replace("|", r"\|"), row)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _prose(docstring: str) -> str:
    """A docstring as Markdown: its sections become lists, what is indented elsewhere is code."""
    lines: list[str] = []
    in_section = False
    for line in docstring.splitlines():
        if re.fullmatch(r"(Args|Attributes|Raises|Returns):", line):
            in_section = True
            lines += [f"**{line.removesuffix(':')}**", ""]
        elif in_section and re.match(r" {4}\S", line):
            lines.append(f"- {line.strip()}")
        elif in_section and line.startswith(" "):
            lines.append(line.strip())
        else:
            in_section = in_section and not line
            lines.append(line)
    return re.sub(r"(`[^`]*`)|\]\[", lambda found: found[1] or r"]\[", "\n".join(lines))


def _cli_page() -> str:
    """Every command with its help."""
    parts = [
        "# Command line",
        "Results go to stdout, progress and warnings to stderr. Exit codes: 0 done, 1 an error (one line, `error: …`; "
        "`--traceback` shows more), 2 a wrong call, 3 done, but inputs or rows have an error (`--on-error return`), "
        "130 interrupted, 141 stdout was closed (as by `head`). [Tables](tables.md) says more of jobs over tables.",
        "`onnxpipe run TASK --help` shows what a task takes; the pages of the [tasks](tasks/index.md) hold the same.",
        f"```text\n{_help([])}\n```",
    ]
    for name in (*COMMANDS, "bench serve"):
        parts += [f"## onnxpipe {name}", f"```text\n{_help(name.split())}\n```"]
    return "\n\n".join(parts) + "\n"


def _help(words: list[str]) -> str:
    """What `onnxpipe WORDS --help` prints, 100 columns wide."""
    from click.testing import CliRunner

    done = CliRunner().invoke(
        command_line, [*words, "--help"], prog_name="onnxpipe", terminal_width=100, max_content_width=100
    )
    if done.exit_code:
        raise click.ClickException(f"onnxpipe {' '.join(words)} --help: exit code {done.exit_code}: {done.output}")
    return done.output.rstrip()


def _stale() -> Iterator[Path]:
    wanted = pages()
    for path, text in wanted.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            yield path
    yield from (path for path in (ROOT / "docs" / "tasks").glob("*.md") if path not in wanted)


def main() -> int:
    """Write or check the pages; returns 1 where a check fails."""
    stale = list(_stale())
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not up to date: run python -m tools.write_docs")
        return int(bool(stale))
    wanted = pages()
    (ROOT / "docs" / "tasks").mkdir(exist_ok=True)
    for path in stale:
        if path in wanted:
            path.write_text(wanted[path], encoding="utf-8")
        else:
            path.unlink()
        print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
