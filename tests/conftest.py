"""The gate's own tests run anywhere: without a card, kernels go through Triton's interpreter."""

import os

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before any kernel file is imported
