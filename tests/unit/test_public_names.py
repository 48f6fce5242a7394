"""Public names: each exported once, documented, and listed both ways; imports cost and need nothing."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
import textwrap
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import TYPE_CHECKING, Any

import pytest

import paceline
import paceline.errors

if TYPE_CHECKING:
    from types import ModuleType

FOLDER = Path(paceline.__file__).parent
NAMES = sorted(each.name for each in walk_packages([str(FOLDER)], "paceline.") if each.name != "paceline.__main__")
# What people import in their own programs; the jobs' modules are public only among themselves.
OURS = [
    name
    for name in NAMES
    if not any(part.startswith("_") for part in name.split("."))
    and not name.startswith(("paceline.jobs.", "paceline.telemetry.words"))
]
OPTIONAL = ("paceline.aiohttp", "paceline._aiohttp", "paceline.cli", "paceline.httpx", "paceline.jobs", "paceline.requests", "paceline.pytest_plugin", "paceline.stores.redis", "paceline.testing", "paceline.compat.requests_ratelimiter")
CORE = [name for name in ["paceline", *NAMES] if not name.startswith(OPTIONAL)]
EXTRAS = {
    "aiohttp", "click", "hiredis", "httptools", "httpx", "httpx2", "multidict", "opentelemetry", "orjson", "prometheus_client",
    "redis", "requests", "rich", "structlog", "trio", "urllib3", "uvloop", "yarl", "zstandard",
}  # fmt: skip


def python(code: str, *arguments: str) -> str:
    """What a new interpreter prints that runs `code`."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout


def defined(module: ModuleType) -> dict[str, Any]:
    """The classes and functions without an underscore that stand in a module's own file."""
    file = inspect.getsourcefile(module)
    assert file is not None
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    body = ast.parse(Path(file).read_text("utf-8")).body
    return {
        node.name: getattr(module, node.name)
        for node in body
        if isinstance(node, kinds) and not node.name.startswith("_")
    }


def test_the_lists_of_names_are_right_both_ways() -> None:
    """All that a module lists is there, once; all its classes and functions without an underscore are listed."""
    wrong = []
    for name in ["paceline", *NAMES]:
        try:
            module = import_module(name)
        except paceline.errors.MissingExtra:
            continue  # such a module says so itself, and can only be looked at where its extra is installed
        listed = getattr(module, "__all__", [])
        wrong += [f"{name}: no {each}" for each in listed if not hasattr(module, each)]
        wrong += [f"{name}: {each} twice" for each in set(listed) if listed.count(each) > 1]
        if name in OURS:
            wrong += [f"{name}: {each} is not listed" for each in sorted(set(defined(module)) - set(listed))]
    assert wrong == []


def test_every_public_name_says_what_it_is() -> None:
    """Listed classes and functions have a docstring of their own."""
    silent = []
    for name in ["paceline", *OURS]:
        module = import_module(name)
        for each in getattr(module, "__all__", []):
            value = getattr(module, each)
            if (inspect.isclass(value) or inspect.isfunction(value)) and not value.__dict__.get("__doc__", value.__doc__):
                silent.append(f"{name}.{each}")
    assert silent == []


def test_public_methods_say_what_they_do() -> None:
    """Each method and property of a class of `paceline` itself has a docstring, its own or an ancestor's."""
    silent = [
        f"{name}.{method}"
        for name in paceline.__all__
        if inspect.isclass(value := getattr(paceline, name)) and not issubclass(value, tuple)
        for method, function in vars(value).items()
        if not method.startswith("_")
        and (inspect.isfunction(function) or isinstance(function, property | classmethod))
        and not inspect.getdoc(getattr(value, method))
    ]
    assert silent == []


def test_every_name_is_exported_once() -> None:
    """No two names of `paceline` are the same thing, and each stands in the list of the module that it comes from."""
    values = [getattr(paceline, name) for name in paceline.__all__ if name != "__version__"]
    assert len({id(value) for value in values}) == len(values)
    for name, home in paceline._HOMES.items():
        module = import_module(f"paceline.{home}")
        assert name in module.__all__
        assert getattr(module, name) is getattr(paceline, name)
    assert {*paceline._HOMES, "__version__"} == set(paceline.__all__)


def test_names_for_type_checkers_are_the_names_at_run_time() -> None:
    """What `paceline/__init__.py` imports for type checkers alone is what it finds at first use."""
    tree = ast.parse((FOLDER / "__init__.py").read_text("utf-8"))
    typed = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module is not None
        for alias in node.names
    }
    assert typed == paceline._HOMES
    assert paceline.policies is import_module("paceline.policies")


def test_an_unknown_name_is_an_attribute_error() -> None:
    """`paceline.nothing` names itself and the package; `dir` shows all that is there."""
    with pytest.raises(AttributeError, match="module 'paceline' has no attribute 'nothing'"):
        _ = paceline.nothing
    assert set(paceline.__all__) <= set(dir(paceline))


def test_import_costs_and_needs_nothing() -> None:
    """`import paceline` brings in the standard library alone, and of paceline itself only the front door."""
    new = python(
        """
        import sys
        before = set(sys.modules)
        import paceline
        print(*set(sys.modules) - before)
        """
    ).split()
    assert [name for name in new if name.startswith("paceline")] == ["paceline"]
    assert {name.partition(".")[0] for name in new} - {"paceline"} <= sys.stdlib_module_names
    assert not {"asyncio", "ssl", "socket", "logging", "http"} & set(new)


def test_the_core_works_where_no_extra_is_installed() -> None:
    """Every module but those of the command line, the jobs and the test server imports with no extra around."""
    out = python(
        """
        import json, sys
        from importlib import import_module
        extras, names = (json.loads(argument) for argument in sys.argv[1:])

        class Nothing:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in extras:
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        sys.meta_path.insert(0, Nothing())
        for name in names:
            import_module(name)
        import paceline
        for name, home in paceline._HOMES.items():
            if not home.startswith("jobs"):
                getattr(paceline, name)
        print(paceline.Limiter("100/s").try_acquire() is not None)
        """,
        json.dumps(sorted(EXTRAS)),
        json.dumps(CORE),
    )
    assert out == "True\n"


def test_the_core_brings_in_no_extra() -> None:
    """The core's modules, all imported, bring in tenacity and http-sf and no other package."""
    new = python(
        """
        import json, sys
        from importlib import import_module
        before = set(sys.modules)
        for name in json.loads(sys.argv[1]):
            import_module(name)
        print(*{name.partition(".")[0] for name in set(sys.modules) - before})
        """,
        json.dumps(CORE),
    ).split()
    packages = {name for name in new if name not in sys.stdlib_module_names and not name.startswith("_sysconfig")}
    # tenacity takes these up where they are installed.
    assert packages <= {"paceline", "tenacity", "http_sf", "typing_extensions", "tornado", "trio", "sniffio"}
