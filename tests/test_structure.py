"""How the package is built: which module may import which, what is imported when, and what no module may do."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "animask"

# The layout, a rank a row: a module imports what stands in a row above it or before it in its own, in folders too.
RANKS = """
errors files devices config layers perturb lpips losses metrics
images probing writer video networks faces moves
model fusion crops shots datasets pairs detectors originals preparation
weights
streaming exporting
animation jobs cases benchmark results evaluation study \
ranks found taught trainer progress checkpoints training
cli.screen cli.animate cli.bench cli.eval cli.export cli.info cli.prepare cli.train cli __init__ __main__
"""
TOONS = "identity pose geometry paint mouth beard eyes face hair scene rendering clay"  # a folder that imports no other
ORDER = [*(f"toons.{name}" for name in TOONS.split()), "toons", *RANKS.split()]
MAX_LINES = 40

SOURCES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8"), str(path)) for path in SOURCES}


def module_of(path):
    """The name of a file's module: "model", "toons.pose", "toons" for that folder's own."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts if len(parts) == 1 or parts[-1] != "__init__" else parts[:-1])


MODULES = {module_of(path) for path in SOURCES}


def place(path, node):
    return f"{path.relative_to(ROOT)}:{node.lineno}"


def listed(wrong):
    """All offenders, one a line."""
    return "\n".join(["", *wrong])


def nodes(*modules):
    """(path, node) of every syntax node of some modules, or of all."""
    for path, tree in TREES.items():
        if not modules or module_of(path) in modules:
            for node in ast.walk(tree):
                yield path, node


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
    assert MODULES - set(ORDER) == set()


def test_imports_point_to_a_lower_rank():
    """All of them, those inside functions too."""
    wrong = []
    for path, node in nodes():
        here = module_of(path)
        for there in imported(path, node):
            if there != here and there in ORDER[ORDER.index(here) :]:
                wrong.append(f"{place(path, node)}: {here} imports {there}")
    assert not wrong, listed(wrong)


def test_imports_are_found_in_every_form():
    path = PACKAGE / "toons" / "face.py"
    forms = {
        "import animask.model as x, torch": ["model"],
        "from animask import model, config": ["model", "config"],
        "from animask.model import Animator": ["model"],
        "from animask.toons import Pose": ["toons"],
        "from animask.toons.pose import Pose": ["toons.pose"],
        "from .pose import Pose": ["toons.pose"],
        "from . import pose": ["toons.pose"],
        "from ..model import Animator": ["model"],
        "from .. import model": ["model"],
        "import torch": [],
    }
    for text, expected in forms.items():
        assert imported(path, ast.parse(text).body[0]) == expected, text
    assert [module_of(PACKAGE / name) for name in ("toons/__init__.py", "__init__.py")] == ["toons", "__init__"]


@pytest.mark.parametrize("name", ["animask", "animask.cli"])
def test_torch_is_not_imported_before_it_is_needed(name):
    code = f"import sys, {name}; print([x for x in ('torch', 'cv2', 'numpy') if x in sys.modules], end='')"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("[]", "")


def test_functions_fit_on_a_screen():
    wrong = []
    for path, node in nodes():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.body[0].lineno + 1  # the flags of a command are no code
            if lines > MAX_LINES:
                wrong.append(f"{place(path, node)} {node.name}: {lines} lines")
    assert not wrong, listed(wrong)


def test_no_function_takes_what_it_does_not_name():
    wrong = [
        f"{place(path, node)} {node.name}(**{node.args.kwarg.arg})"
        for path, node in nodes()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.args.kwarg
    ]
    assert not wrong, listed(wrong)


def test_public_functions_and_classes_are_documented():
    wrong = []
    for path, tree in TREES.items():
        for node in tree.body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if public and not ast.get_docstring(node):
                wrong.append(f"{place(path, node)} {node.name}")
    assert not wrong, listed(wrong)


def test_sizes_are_numbers_of_the_configuration_only():
    model_code = (
        *("layers", "perturb", "networks", "model", "weights"),
        *("streaming", "crops", "animation", "training", "evaluation"),
        *("moves", "found", "taught", "trainer", "progress", "ranks", "checkpoints"),
    )
    wrong = [
        f"{place(path, node)}: {node.value}"
        for path, node in nodes(*model_code)
        if isinstance(node, ast.Constant) and type(node.value) is int and node.value in (64, 256)
    ]
    assert not wrong, listed(wrong)


def test_detach_lives_in_the_model():
    """Which loss moves which network is decided in one place."""
    wrong = [
        place(path, node)
        for path, node in nodes("layers", "perturb", "networks", "losses")
        if isinstance(node, ast.Attribute) and node.attr in ("detach", "no_grad", "inference_mode")
    ]
    assert not wrong, listed(wrong)


def test_devices_are_not_named_by_a_method():
    wrong = [
        place(path, node)
        for path, node in nodes()
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "cuda"
    ]
    assert not wrong, listed(wrong)


# chance

GLOBAL_SEEDS = {
    "torch.manual_seed",
    "torch.seed",
    "torch.random.manual_seed",
    "torch.cuda.manual_seed",
    "torch.cuda.manual_seed_all",
    "np.random.seed",
    "numpy.random.seed",
    "random.seed",
    "cv2.setRNGSeed",
}
DRAWS = {"rand", "randn", "randint", "randperm", "normal", "poisson", "bernoulli", "multinomial"}


def dotted(node):
    """`a.b.c` of an attribute, or nothing for what is not one."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def forked(tree):
    """Nodes within `with torch.random.fork_rng():`, where a global seed ends with the block."""
    inside = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.With):
            calls = [item.context_expr for item in node.items if isinstance(item.context_expr, ast.Call)]
            if any(dotted(call.func) == "torch.random.fork_rng" for call in calls):
                inside |= {id(child) for child in ast.walk(node)}
    return inside


def global_seeds(tree):
    inside = forked(tree)
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and dotted(node.func) in GLOBAL_SEEDS and id(node) not in inside
    ]


def test_no_module_seeds_the_whole_process():
    wrong = [place(path, node) for path, tree in TREES.items() for node in global_seeds(tree)]
    assert not wrong, listed(wrong)


def test_draws_name_their_generator():
    """torch's need `generator=`; NumPy's and Python's global ones are not used at all."""
    wrong = []
    for path, node in nodes():
        if not isinstance(node, ast.Call):
            continue
        root, _, rest = dotted(node.func).partition(".")
        keywords = {keyword.arg for keyword in node.keywords}
        if root == "torch" and rest in DRAWS and "generator" not in keywords:
            wrong.append(f"{place(path, node)}: torch.{rest}")
        known = ("default_rng", "Generator", "SeedSequence", "PCG64", "Philox")
        if root in ("np", "numpy") and rest.startswith("random.") and rest.removeprefix("random.") not in known:
            wrong.append(f"{place(path, node)}: {root}.{rest}")
        if root == "random" and rest not in ("", "Random"):
            wrong.append(f"{place(path, node)}: random.{rest}")
    assert not wrong, listed(wrong)


def test_the_readme_names_every_module():
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("## The code")[1].split("\n## ")[0]
    named = set(re.findall(r"`([a-z_]+)/?`", table)) - {"uint8"}
    assert named == {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" and path.stem[0] != "_"} | {
        "cli",
        "toons",
    }
