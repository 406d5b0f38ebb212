# Copyright (c) 2026 opsrunner contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory's top-level ``runbook_*`` variables: what there is, and what is wrong with what was written.

``variables.yml`` beside this file names them. One that is handed to a module has its nested options from that module's own
DOCUMENTATION, and its thresholds, patterns and expressions are read by the code that will read them in the run.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ansible_collections.opsrunner.runbook.plugins.module_utils._core.options import OptionError, nearest, unknown_name
from ansible_collections.opsrunner.runbook.plugins.plugin_utils._inventory import undefined

PREFIX = "runbook_"
_COLLECTION = "ansible_collections.opsrunner.runbook.plugins"
_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str, int, float),
    "path": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "list": (list, tuple),
    "dict": (Mapping,),
}
_BOOLEANS = {"yes", "no", "true", "false", "on", "off", "0", "1", "y", "n", "t", "f"}


class Problem(NamedTuple):
    """Something wrong with a variable: where it is written, which key, what to do."""

    where: str
    error: OptionError

    def __str__(self) -> str:
        return f"{self.where}: {self.error}"


@functools.cache
def variables() -> dict[str, dict[str, Any]]:
    """Every top-level variable as ``variables.yml`` has it."""
    known: dict[str, dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "variables.yml").read_text(encoding="utf-8"))
    return known


def specification(name: str) -> dict[str, Any]:
    """What a variable may hold, as a module's ``options`` say it."""
    entry = variables()[name]
    return {**documentation(entry["module"])[entry["option"]], **entry} if "module" in entry else entry


@functools.cache
def documentation(module: str) -> dict[str, Any]:
    """The options that a module of this collection documents, those of its doc fragments too."""
    told = _documented(Path(__file__).parents[2] / "modules" / f"{module}.py")
    options: dict[str, Any] = {}
    fragments = told.get("extends_documentation_fragment", ())
    for fragment in [fragments] if isinstance(fragments, str) else fragments:
        path = Path(__file__).parents[2] / "doc_fragments" / f"{fragment.rpartition('.')[2]}.py"
        options.update(_documented(path).get("options", {}))
    options.update(told.get("options", {}))
    return options


def _documented(path: Path) -> dict[str, Any]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and any(isinstance(target, ast.Name) and target.id == "DOCUMENTATION" for target in node.targets):
            told: dict[str, Any] = yaml.safe_load(ast.literal_eval(node.value))
            return told
    raise LookupError(f"{path} has no DOCUMENTATION")


def check(name: str, value: Any) -> Iterator[OptionError]:
    """What is wrong with one variable. A value that is still a template is taken as it is."""
    if name not in variables():
        yield unknown_name("", name, variables(), what="variable")
        return
    spec = specification(name)
    wrong = list(_check_value(name, value, spec))
    yield from wrong
    if wrong or "module" not in spec:
        return
    if isinstance(value, list):  # one by one, so that all are told; what is no template yet can be read all the same
        wrong = [error for index, item in enumerate(value) if not _has_template(item) for error in _refused(name, spec, [item], index)]
        yield from wrong
    if not wrong and not _has_template(value):
        yield from _refused(name, spec, value)


def _refused(name: str, spec: Mapping[str, Any], value: Any, index: int = 0) -> Iterator[OptionError]:
    """What the module's own action plugin says of the value; ``index``: of the list's first item in the whole list."""
    option = spec["option"]
    try:
        _read_by_module(spec["module"], {option: value})
    except OptionError as error:
        path = error.path.replace(f"{option}[0]", f"{name}[{index}]", 1) if error.path.startswith(f"{option}[0]") else error.path
        path = path if path.startswith(name) else name + path[len(option) :] if path.startswith(option) else f"{name}.{path}".rstrip(".")
        yield OptionError(path, error.problem, error.hint)


def _read_by_module(module: str, options: dict[str, Any]) -> None:
    """Let the module's own action plugin read the options. Raises OptionError."""
    import_module(f"{_COLLECTION}.action.{module}").ActionModule.check_options(options)


def _is_template(value: Any) -> bool:
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def _has_template(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_has_template(item) for pair in value.items() for item in pair)
    if isinstance(value, (list, tuple)):
        return any(_has_template(item) for item in value)
    return _is_template(value) or isinstance(value, Hidden)


class Hidden:
    """Stands for a vaulted value in a file that is read without its password."""


def _check_value(path: str, value: Any, spec: Mapping[str, Any]) -> Iterator[OptionError]:
    if _is_template(value) or isinstance(value, Hidden) or (value is None and not spec.get("required")):
        return
    kind = spec.get("type", "str")
    if not _fits(value, kind):
        yield OptionError(path, f"{_shown(value)} is not {_ARTICLES.get(kind, kind)}")
        return
    if "choices" in spec and kind != "list" and str(value) not in [str(choice) for choice in spec["choices"]]:
        choices = [str(choice) for choice in spec["choices"]]
        yield unknown_name(path, str(value), choices, what="choice")
    if kind == "list":
        item_spec = {"type": spec.get("elements", "raw"), "suboptions": spec.get("suboptions")}
        if "choices" in spec:
            item_spec["choices"] = spec["choices"]
        for index, item in enumerate(value):
            yield from _check_value(f"{path}[{index}]", item, item_spec)
    elif kind == "dict" and spec.get("suboptions"):
        yield from _check_options(path, value, spec["suboptions"])


def _check_options(path: str, value: Mapping[str, Any], options: Mapping[str, Any]) -> Iterator[OptionError]:
    names = {alias: name for name, spec in options.items() for alias in (name, *spec.get("aliases", ()))}
    for key, item in value.items():
        if key not in names:
            yield unknown_name(f"{path}.{key}", str(key), options, what="key")
        else:
            yield from _check_value(f"{path}.{key}", item, options[names[key]])
    given = {names[key] for key in value if key in names}
    for name, spec in options.items():
        if spec.get("required") and name not in given:
            yield OptionError(f"{path}.{name}", "is required and is missing")


_ARTICLES = {
    "str": "a text",
    "path": "a path",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "dict": "a mapping",
}


def _fits(value: Any, kind: str) -> bool:
    if kind not in _TYPES:
        return True
    if isinstance(value, bool):
        return kind in ("bool", "str")
    if isinstance(value, str) and kind in ("int", "float"):
        return _is_number(value, int if kind == "int" else float)
    if kind == "bool" and isinstance(value, (str, int)):
        return str(value).lower() in _BOOLEANS
    return isinstance(value, _TYPES[kind])


def _is_number(text: str, kind: type[int] | type[float]) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


# -- inventory files, read as they are --------------------------------------------------------------------------------------


class _Lines(Mapping[str, Any]):
    """A mapping of a YAML file with the line of each key."""

    def __init__(self, data: dict[str, Any], lines: dict[str, int]) -> None:
        self._data, self.lines = data, lines

    def __getitem__(self, key: str) -> Any:
        return self._data[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __repr__(self) -> str:
        return repr(self._data)


def _read(path: Path) -> tuple[Any, list[Problem]]:
    """A YAML file's data, and what is wrong with it as YAML."""
    problems: list[Problem] = []

    def convert(node: yaml.Node, loader: yaml.SafeLoader) -> Any:
        if isinstance(node, yaml.MappingNode):
            data: dict[str, Any] = {}
            lines: dict[str, int] = {}
            for key_node, value_node in node.value:
                key, line = str(convert(key_node, loader)), key_node.start_mark.line + 1
                if key in data:
                    problems.append(Problem(f"{path}:{line}", OptionError(key, f"is given twice, first in line {lines[key]}")))
                data[key], lines[key] = convert(value_node, loader), line
            return _Lines(data, lines)
        if isinstance(node, yaml.SequenceNode):
            return [convert(item, loader) for item in node.value]
        if node.tag in ("!vault", "!vault-encrypted"):
            return Hidden()
        if node.tag == "!unsafe":
            return str(node.value)
        return loader.construct_object(node)

    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        if text.startswith("$ANSIBLE_VAULT;"):
            return {}, []
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        return (convert(node, loader) if node is not None else {}), problems
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        return {}, [Problem(f"{path}:{line}", OptionError("", f"is not YAML: {error.problem}"))]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError) as error:
        return {}, [Problem(str(path), OptionError("", f"cannot be read: {error}"))]


def _check_file_variables(path: Path, data: Any) -> Iterator[Problem]:
    if not isinstance(data, Mapping):
        yield Problem(str(path), OptionError("", f"{_shown(data)} is not a mapping of variables"))
        return
    for name, value in data.items():
        if name.startswith(PREFIX):
            for error in check(name, value):
                yield Problem(f"{path}:{_line_of(data, error.path or name)}", error)


def _line_of(data: Any, path: str) -> int:
    """The line of the deepest key on the way to ``path`` (such as ``a[1].b``)."""
    line = 1
    for part in path.replace("]", "").replace("[", ".").split("."):
        if isinstance(data, _Lines) and part in data.lines:
            line, data = data.lines[part], data[part]
        elif isinstance(data, list) and part.isdigit() and int(part) < len(data):
            data = data[int(part)]
            if isinstance(data, _Lines) and data.lines:
                line = min(data.lines.values())
        else:
            break
    return line


def check_inventory(folder: Path) -> list[Problem]:
    """What is wrong with the variables of an inventory folder (or of one inventory file), groups without hosts included.

    Reads the YAML files themselves: ``hosts.yml`` and its like, ``group_vars`` and ``host_vars``. Templates and vaulted
    values are left for the run, which checks them as each host has them.
    """
    folder = Path(folder)
    if not folder.exists():
        return [Problem(str(folder), OptionError("", "there is no such inventory"))]
    root = folder if folder.is_dir() else folder.parent
    problems: list[Problem] = []
    groups: dict[str, set[str]] = {"group_vars": {"all", "ungrouped"}, "host_vars": set()}
    sources = [folder] if folder.is_file() else [p for p in sorted(root.iterdir()) if p.suffix in (".yml", ".yaml")]
    has_other_sources = folder.is_dir() and any(p.is_file() and p.suffix not in (".yml", ".yaml", ".md") for p in root.iterdir())
    if not sources and not has_other_sources:
        problems.append(Problem(str(folder), OptionError("", "holds no inventory: no hosts.yml")))
    for path in sources:
        data, wrong = _read(path)
        problems += wrong
        if isinstance(data, Mapping) and "plugin" in data:
            has_other_sources = True  # an inventory plugin's configuration: its hosts are not known here
        elif isinstance(data, Mapping):
            problems += _check_groups(path, data, groups)
    named_system = False
    for kind, known in groups.items():
        for path in sorted((root / kind).rglob("*")) if (root / kind).is_dir() else ():
            if path.is_dir() or path.suffix not in (".yml", ".yaml", ".json", ""):
                continue
            owner = path.relative_to(root / kind).parts[0]
            owner = owner.rsplit(".", 1)[0] if owner.endswith((".yml", ".yaml", ".json")) else owner
            if owner not in known and not has_other_sources:
                what = "group" if kind == "group_vars" else "host"
                problems.append(Problem(str(path), OptionError("", f"there is no {what} {owner!r}", nearest(owner, known))))
            data, wrong = _read(path)
            problems += [*wrong, *_check_file_variables(path, data)]
            named_system = named_system or (isinstance(data, Mapping) and "runbook_system" in data)
    if not has_other_sources:
        if sources and not problems and not groups["host_vars"]:
            problems.append(Problem(str(sources[0]), OptionError("all.hosts", "the inventory has no hosts")))
        problems += _undefined(root, sources)
    if not named_system and not any("runbook_system" in str(_read(path)[0]) for path in sources):
        problems.append(Problem(str(folder), OptionError("runbook_system", "is not set: put it into group_vars/all")))
    return problems


def _check_groups(path: Path, data: Mapping[str, Any], known: dict[str, set[str]]) -> Iterator[Problem]:
    for group, content in data.items():
        known["group_vars"].add(group)
        if content is None:
            continue
        if not isinstance(content, Mapping):
            yield Problem(f"{path}:{_line_of(data, group)}", OptionError(group, f"{_shown(content)} is not a group"))
            continue
        for key in content:
            if key not in ("hosts", "children", "vars"):
                error = unknown_name(f"{group}.{key}", key, ("hosts", "children", "vars"), what="key")
                yield Problem(f"{path}:{_line_of(content, key)}", error)
        yield from _check_file_variables(path, content.get("vars") or {})
        hosts = content.get("hosts") or {}
        for host, own in hosts.items() if isinstance(hosts, Mapping) else ():
            known["host_vars"].add(host)
            if own is not None:
                yield from _check_file_variables(path, own)
        children = content.get("children") or {}
        if isinstance(children, Mapping):
            yield from _check_groups(path, children, known)


def _undefined(root: Path, sources: list[Path]) -> Iterator[Problem]:
    """Templates that use a variable which no file of the inventory defines."""
    below = [path for kind in ("group_vars", "host_vars") for path in sorted((root / kind).rglob("*")) if undefined.is_read(path)]
    files = [(path, _read(path)[0]) for path in [*sources, *below]]
    defined = {name for _path, data in files for name in undefined.names(data)}
    for path, data in files:
        for error in undefined.errors(data, defined):
            yield Problem(f"{path}:{_line_of(data, error.path)}", error)


def written(folder: Path, name: str) -> Iterator[tuple[Path, Any, int]]:
    """Each value of a variable that the files of an inventory folder (or one file) hold, with its file and line."""
    folder = Path(folder)
    for path in [folder] if folder.is_file() else sorted(folder.rglob("*")):
        if undefined.is_read(path):
            for value, line in _values(_read(path)[0], name):
                yield path, value, line


def check_runbooks(folder: Path, known: Iterable[str]) -> Iterator[Problem]:
    """Runbooks that ``runbook_calendar`` names and that are none of ``known``."""
    for path, value, line in written(folder, "runbook_calendar"):
        for index, item in enumerate(value if isinstance(value, list) else ()):
            name = item.get("runbook") if isinstance(item, Mapping) else None
            if isinstance(name, str) and name not in known and not _is_template(name):
                error = unknown_name(f"runbook_calendar[{index}].runbook", name, known, what="runbook")
                place = _Lines({"runbook_calendar": value}, {"runbook_calendar": line})
                yield Problem(f"{path}:{_line_of(place, error.path)}", error)


def warn_inventory(folder: Path) -> list[Problem]:
    """What is valid in an inventory folder (or file) and may still hurt: a restore that stops nobody who writes to the data."""
    return [problem for path, value, line in written(folder, "runbook_backups") for problem in _without_services(path, value, line)]


def _values(data: Any, name: str) -> Iterator[tuple[Any, int]]:
    """Each value of a variable, however deep in the groups of a file, with its line."""
    if isinstance(data, _Lines):
        for key, value in data.items():
            if key == name:
                yield value, data.lines[key]
            else:
                yield from _values(value, name)


def _without_services(path: Path, backups: Any, line: int) -> Iterator[Problem]:
    for index, backup in enumerate(backups if isinstance(backups, list) else ()):
        if not isinstance(backup, Mapping) or not isinstance(backup.get("restore"), Mapping) or backup["restore"].get("services"):
            continue
        artifacts = backup.get("artifacts")
        engines = {one.get("engine") for one in artifacts if isinstance(one, Mapping)} if isinstance(artifacts, list) else set()
        if engines & {"files", "config", "sqlite"}:
            where = backup.lines["restore"] if isinstance(backup, _Lines) else line
            text = "names no services: whatever has the data open goes on with the previous data, so a restore is refused while it does"
            yield Problem(f"{path}:{where}", OptionError(f"runbook_backups[{index}].restore", text))


def check_host(
    host: str, values: Mapping[str, Any], origin: Callable[[str, Any], str | None], cache: dict[Any, list[Problem]]
) -> list[Problem]:
    """What is wrong with the variables as one host has them, templates resolved.

    ``origin`` tells where a value was written (None: not known). ``cache`` holds what was found for values other hosts
    have too.
    """
    problems: list[Problem] = []
    for name in sorted(name for name in values if name.startswith(PREFIX)):
        value = values[name]
        where = origin(name, value)
        key = (name, where, repr(value))
        if key not in cache:
            cache[key] = [Problem(where or f"host {host}", error) for error in check(name, value)]
        problems += cache[key]
    return problems


def unique(problems: Iterable[Problem]) -> list[str]:
    """The problems as text, each once, in order."""
    return list(dict.fromkeys(str(problem) for problem in problems))
