"""Quality: what compression cost in pictures.

Importing the package loads no PyTorch: scenarios are checked against the names of its metrics.
"""
