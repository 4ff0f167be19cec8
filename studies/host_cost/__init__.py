"""What a call of the wrapper costs the host, beside torch.matmul and Triton's own launch."""
