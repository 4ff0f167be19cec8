"""The form of a kernel file: imports, kernels, wrappers, the module; nothing else."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "kernels" / "matmul.py"
TREE = ast.parse(SOURCE.read_text(encoding="utf-8"))


def kind_of(node: ast.stmt) -> str:
    if isinstance(node, ast.FunctionDef):
        jit = any("triton.jit" in ast.unparse(decorator) for decorator in node.decorator_list)
        return "kernel" if jit else "wrapper"
    return {ast.Import: "import", ast.ClassDef: "module", ast.Expr: "docstring"}.get(type(node), ast.unparse(node))


def test_the_file_holds_imports_then_kernels_then_wrappers_then_the_module() -> None:
    kinds = [kind_of(node) for node in TREE.body]
    order = ["docstring", "import", "kernel", "wrapper", "module"]
    assert list(dict.fromkeys(kinds)) == order
    assert kinds == sorted(kinds, key=order.index)
    assert [node.name for node in TREE.body if isinstance(node, ast.ClassDef)] == ["ModelNew"]


def test_only_torch_and_triton_are_imported_and_the_one_file_stays_readable() -> None:
    imports = [ast.unparse(node) for node in ast.walk(TREE) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert imports == ["import torch", "import torch.nn as nn", "import triton", "import triton.language as tl"]
    assert len(SOURCE.read_text(encoding="utf-8").splitlines()) <= 360
