"""The source of the product as syntax trees, and what they import, use and call."""

import ast
from pathlib import Path

from local.stack.process import ROOT

PRODUCT = ("shared", "functions", "function_app.py")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources(*places: str) -> list[Path]:
    """Return the source files of folders and files of the project, without what is installed there."""
    return [path for place in places for path in _sources(ROOT / place)]


def _sources(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    found = [path for path in sorted(place.iterdir()) if path.name != "node_modules"]
    return [path for one in found if one.is_dir() or one.suffix == ".py" for path in _sources(one)]


def parsed(path: Path) -> ast.Module:
    """Return the syntax tree of a source file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    """Return the name by which a source file is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {name_of(path): path for path in sources(*PRODUCT)}
MODULES = {name: parsed(path) for name, path in PATHS.items()}
PACKAGES = {name for name, path in PATHS.items() if path.name == "__init__.py"}


def product(*names: str) -> dict[str, ast.Module]:
    """Return the modules of some top-level packages of the product."""
    return {name: tree for name, tree in MODULES.items() if name.partition(".")[0] in names}


def modules_of(package: str) -> set[str]:
    """Return the names of the modules below a package."""
    return {name for name in MODULES if name.startswith(f"{package}.")}


def imported(tree: ast.AST) -> set[str]:
    """Return the names that a module imports, `from a import b` as both `a` and `a.b`."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def packages(tree: ast.AST) -> set[str]:
    """Return the first parts of the names that a module imports."""
    return {name.partition(".")[0] for name in imported(tree)}


def used(tree: ast.AST) -> set[str]:
    """Return every name and attribute that a module uses."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return names | {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def called(tree: ast.AST) -> set[str]:
    """Return the names in what a module calls: those of `C()`, `m.C()` and `C.from_x()`."""
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return set().union(*(used(function) for function in calls)) if calls else set()


def constructed(tree: ast.AST) -> set[str]:
    """Return the names of the classes of which a module makes instances: C of `C()` and `m.C()`."""
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = {function.id for function in calls if isinstance(function, ast.Name)}
    return names | {function.attr for function in calls if isinstance(function, ast.Attribute)}


def at_import(tree: ast.Module) -> ast.Module:
    """Return the statements that run when a module is imported, without those for type checkers."""
    statements = [
        node
        for node in tree.body
        if not isinstance(node, Function | ast.ClassDef)
        and not (isinstance(node, ast.If) and "TYPE_CHECKING" in used(node.test))
    ]
    return ast.Module(statements, [])


def texts(tree: ast.AST) -> set[str]:
    """Return the strings of a module that are not docstrings. Those in f-strings are among them."""
    bodies = [body for node in ast.walk(tree) if isinstance(body := getattr(node, "body", None), list)]
    docstrings = {id(one.value) for body in bodies for one in body if isinstance(one, ast.Expr)}
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docstrings)
    return {node.value for node in constants if isinstance(node.value, str)}


def functions(tree: ast.AST) -> list[Function]:
    """Return every function and method of a module."""
    return [node for node in ast.walk(tree) if isinstance(node, Function)]
