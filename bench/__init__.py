import distill.host  # noqa: F401  # counts the cores, which PyTorch may bind this process to one of
