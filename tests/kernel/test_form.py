"""The form of a kernel file: imports, kernels, wrappers, the module; nothing else."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "kernels" / "matmul.py"
TREE = ast.parse(SOURCE.read_text(encoding="utf-8"))


def kind_of(node: ast.stmt) -> str:
    if isinstance(node, ast.FunctionDef):
        jit = any("triton.jit" in ast.unparse(decorator) for decorator in node.decorator_list)
        return "kernel" if jit else "wrapper"
    if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "_KEPT":
        return "wrapper"  # what its launches are kept in
    return {ast.Import: "import", ast.ImportFrom: "import", ast.ClassDef: "module", ast.Expr: "docstring"}.get(
        type(node), ast.unparse(node)
    )


def test_the_file_holds_imports_then_kernels_then_wrappers_then_the_module() -> None:
    kinds = [kind_of(node) for node in TREE.body]
    for at, node in enumerate(TREE.body):
        if isinstance(node, ast.AnnAssign):
            assert kinds[at + 1] == "docstring", f"what is {ast.unparse(node.target)}?"
            kinds[at + 1] = "wrapper"
    order = ["docstring", "import", "kernel", "wrapper", "module"]
    assert list(dict.fromkeys(kinds)) == order
    assert kinds == sorted(kinds, key=order.index)
    assert [node.name for node in TREE.body if isinstance(node, ast.ClassDef)] == ["ModelNew"]


def test_only_torch_and_triton_are_imported() -> None:
    imports = [ast.unparse(node) for node in ast.walk(TREE) if isinstance(node, ast.Import | ast.ImportFrom)]
    described = "from triton.tools.tensor_descriptor import TensorDescriptor"  # which triton itself does not load
    assert imports == [
        "import torch",
        "import torch.nn as nn",
        "import triton",
        "import triton.language as tl",
        described,
    ]


def test_a_kernel_is_decorated_once_and_its_launch_is_in_the_wrapper() -> None:
    kernels = {node.name for node in TREE.body if isinstance(node, ast.FunctionDef) and kind_of(node) == "kernel"}
    launched = {name for name in kernels if not name.startswith("_")}
    assert launched == {name for name in kernels if name.endswith("_kernel")}
    wrappers = [node for node in TREE.body if kind_of(node) == "wrapper"]
    named = {node.id for wrapper in wrappers for node in ast.walk(wrapper) if isinstance(node, ast.Name)}
    assert launched <= named, "a kernel is launched by no wrapper"
