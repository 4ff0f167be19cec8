"""Sets up the tests of this kernel: the gate's plugin, and Triton's interpreter where there is no card."""

import os

import torch

pytest_plugins = ("perfgate.plugin",)

if not torch.cuda.is_available():
    # Triton reads this when a kernel is decorated, so it is set before any kernel file is imported.
    os.environ["TRITON_INTERPRET"] = "1"
