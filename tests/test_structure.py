"""How the package is built: which module may import which, what no module may do, and its public names."""

import ast
import re
from pathlib import Path

import pytest

import animask

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "animask"

# The layout, a rank a row: a module imports what stands in a row above it or before it in its own, in folders too.
RANKS = """
errors files devices config perturb losses metrics
images probing video networks faces clay
model fusion crops shots datasets pairs detectors preparation
weights
streaming exporting
animation protocol benchmark evaluation study \
ranks objectives trainer training
cli.screen cli.animate cli.bench cli.eval cli.export cli.info cli.prepare cli.train cli __init__ __main__
"""
TOONS = "identity pose geometry paint eyes face hair scene rendering"  # a folder that imports no other
ORDER = [*(f"toons.{name}" for name in TOONS.split()), "toons", *RANKS.split()]
MAX_LINES = 40

SOURCES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8"), str(path)) for path in SOURCES}


def module_of(path):
    """The name of a file's module: "model", "toons.pose", "toons" for that folder's own."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts if len(parts) == 1 or parts[-1] != "__init__" else parts[:-1])


MODULES = {module_of(path) for path in SOURCES}


def nodes(*modules):
    """(path, node) of every syntax node of some modules, or of all."""
    for path, tree in TREES.items():
        if not modules or module_of(path) in modules:
            for node in ast.walk(tree):
                yield path, node


def check(wrong):
    """Fail where there are offenders, (path, node, words), and name them, one a line."""
    lines = [f"{path.relative_to(ROOT)}:{node.lineno}: {words}" for path, node, words in wrong]
    assert not lines, "\n".join(["", *lines])


def imported(path, node):
    """The modules of the package that an import statement names."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        package = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
        base = ".".join((*package, *([node.module] if node.module else [])))
        names = [f"{base}.{alias.name}" for alias in node.names]
    else:
        names = []
    names = [name.removeprefix("animask.") for name in names if name.startswith("animask.")]
    return [name if name in MODULES else name.rpartition(".")[0] or name for name in names]


def test_every_module_has_a_rank():
    assert set(ORDER) == MODULES | {"toons"}


def test_imports_point_to_a_lower_rank():
    """All of them, those inside functions too."""
    found = [(path, node, module_of(path), there) for path, node in nodes() for there in imported(path, node)]
    assert len(found) > 200
    check(
        (path, node, f"{here} imports {there}")
        for path, node, here, there in found
        if there != here and there in ORDER[ORDER.index(here) :]
    )


FUNCTIONS = [(path, node) for path, node in nodes() if isinstance(node, ast.FunctionDef)]


def test_functions_fit_on_a_screen():
    """From the first line of their bodies on: the flags of a command are no code."""
    lengths = ((path, node, node.end_lineno - node.body[0].lineno + 1) for path, node in FUNCTIONS)
    check((path, node, f"{node.name}: {lines} lines") for path, node, lines in lengths if lines > MAX_LINES)


def test_no_function_takes_what_it_does_not_name():
    check((path, node, f"{node.name}(**{node.args.kwarg.arg})") for path, node in FUNCTIONS if node.args.kwarg)


def test_public_functions_and_classes_are_documented():
    check(
        (path, node, node.name)
        for path, tree in TREES.items()
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_" and not ast.get_docstring(node)
    )


def test_sizes_are_numbers_of_the_configuration_only():
    model_code = (
        *("perturb", "networks", "model", "weights"),
        *("streaming", "crops", "animation", "training", "evaluation"),
        *("objectives", "trainer", "ranks"),
    )
    check(
        (path, node, node.value)
        for path, node in nodes(*model_code)
        if isinstance(node, ast.Constant) and type(node.value) is int and node.value in (64, 256)
    )


def test_detach_lives_in_the_model():
    """Which loss moves which network is decided in one place."""
    check(
        (path, node, node.attr)
        for path, node in nodes("perturb", "networks", "losses")
        if isinstance(node, ast.Attribute) and node.attr in ("detach", "no_grad", "inference_mode")
    )


# chance

CALLS = [(path, node, ast.unparse(node.func)) for path, node in nodes() if isinstance(node, ast.Call)]
CALLS = [call for call in CALLS if re.fullmatch(r"[\w.]+", call[2])]  # of names with dots
DRAWS = {"rand", "randn", "randint", "randperm", "normal", "poisson", "bernoulli", "multinomial"}
GENERATORS = ("default_rng", "Generator", "SeedSequence", "PCG64", "Philox")


def forked(tree):
    """Nodes within `with torch.random.fork_rng():`, where a global seed ends with the block."""
    inside = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.With) and "fork_rng" in " ".join(map(ast.unparse, node.items)):
            inside |= {id(child) for child in ast.walk(node)}
    return inside


def test_no_module_seeds_the_whole_process():
    inside = set().union(*map(forked, TREES.values()))
    seeds = re.compile(r"(torch|np|numpy|random|cv2)\..*(seed|seed_all|setRNGSeed)")
    check((path, node, name) for path, node, name in CALLS if seeds.fullmatch(name) and id(node) not in inside)


def test_draws_name_their_generator():
    """torch's need `generator=`; NumPy's and Python's global ones are not used at all."""
    wrong = []
    for path, node, name in CALLS:
        root, _, rest = name.partition(".")
        nameless = root == "torch" and rest in DRAWS and "generator" not in {item.arg for item in node.keywords}
        last = rest.removeprefix("random.")
        of_numpy = root in ("np", "numpy") and rest.startswith("random.") and last not in GENERATORS
        if nameless or of_numpy or (root == "random" and rest not in ("", "Random")):
            wrong.append((path, node, name))
    check(wrong)


def test_public_names_are_found_and_no_others():
    assert [getattr(animask, name).__name__ for name in animask.__all__] == animask.__all__
    with pytest.raises(AttributeError, match="animat"):
        _ = animask.animat


def test_the_readme_names_every_module():
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("## The code")[1].split("\n## ")[0]
    named = set(re.findall(r"`([a-z_]+)/?`", table)) - {"uint8"}
    modules = {path.stem for path in PACKAGE.glob("*.py") if path.stem[0] != "_"}
    assert named == modules | {"cli", "toons"}
