"""The Triton kernels under test."""
