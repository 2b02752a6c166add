"""A model as one folder, and as ONNX."""
