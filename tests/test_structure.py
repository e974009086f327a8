"""How the package is built: which module may import which, what is imported when, and what no module may do."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "animask"

# Imports point to a lower rank; a folder has one rank, and within it any import is fine.
RANKS = {
    "errors": 0,
    "partials": 0,
    "texts": 0,
    "config": 0,
    "timing": 0,
    "layers": 0,
    "perturb": 0,
    "video": 0.5,  # folders of pictures are read through images
    "images": 0,
    "metrics": 0,
    "toons": 0,
    "devices": 0,
    "networks": 1,
    "losses": 1,
    "datasets": 1,
    "faces": 1,
    "detectors": 1,
    "samples": 1,
    "headers": 1,
    "model": 2,
    "hub": 2,
    "weights": 3,
    "fusion": 3,
    "animation": 4,
    "cards": 4,
    "training": 5,
    "benchmark": 5,
    "exporting": 5,
    "evaluation": 5,
    "preparation": 5,
    "cli": 6,
    "__init__": 6,
    "__main__": 7,
}
FOR_ALL = {"errors", "partials", "texts"}  # what even modules of rank 0 may import
MAX_LINES = 40

SOURCES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8"), str(path)) for path in SOURCES}


def module_of(path):
    """The name in RANKS of the module that a file belongs to."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


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
    elif isinstance(node, ast.ImportFrom) and node.level:
        package = path.relative_to(ROOT).with_suffix("").parts[: -node.level]
        base = ".".join((*package, *(node.module or "").split("."))).rstrip(".")
        names = [base] if "." in base else [f"{base}.{alias.name}" for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        whole = node.module == "animask"
        names = [f"animask.{alias.name}" for alias in node.names] if whole else [node.module]
    else:
        names = []
    return [name.split(".")[1] for name in names if name.startswith("animask.")]


def test_there_is_something_to_check():
    assert {"config", "model", "networks", "perturb"} <= {module_of(path) for path in SOURCES}


def test_every_module_has_a_rank():
    assert {module_of(path) for path in SOURCES} - RANKS.keys() == set()


def test_imports_point_to_a_lower_rank():
    wrong = []
    for path, node in nodes():
        here = module_of(path)
        for there in imported(path, node):
            lower = RANKS.get(there, 99) < RANKS.get(here, 0)
            if there != here and not lower and there not in FOR_ALL:
                wrong.append(f"{place(path, node)}: {here} imports {there}")
    assert not wrong, listed(wrong)


def test_imports_are_found_in_every_form():
    path = PACKAGE / "toons" / "face.py"
    forms = {
        "import animask.model": ["model"],
        "import animask.model as x, torch": ["model"],
        "from animask import model, config": ["model", "config"],
        "from animask.model import Animator": ["model"],
        "from animask.toons.pose import Pose": ["toons"],
        "from .pose import Pose": ["toons"],
        "from . import pose": ["toons"],
        "from ..model import Animator": ["model"],
        "from .. import model": ["model"],
        "import torch": [],
    }
    for text, expected in forms.items():
        assert imported(path, ast.parse(text).body[0]) == expected, text


@pytest.mark.parametrize(("name", "file"), [("animask", "__init__.py"), ("animask.cli", "cli")])
def test_torch_is_not_imported_before_it_is_needed(name, file):
    path = PACKAGE / file
    if not path.exists() and not path.with_suffix(".py").exists():
        pytest.skip(f"{name} is not written yet")
    code = f"import sys, {name}; print('torch' in sys.modules, end='')"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("False", "")


def test_functions_fit_on_a_screen():
    wrong = []
    for path, node in nodes():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
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
        *("animation", "training", "evaluation"),
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


def test_seeds_are_told_apart():
    assert len(global_seeds(ast.parse("torch.manual_seed(0); np.random.seed(0)"))) == 2
    fine = "torch.Generator().manual_seed(0)\nwith torch.random.fork_rng():\n    torch.manual_seed(0)\n"
    assert global_seeds(ast.parse(fine)) == []


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


def test_there_is_no_drawer_for_everything():
    names = {path.stem for path in SOURCES}
    assert names & {"utils", "util", "helpers", "common", "misc"} == set()
