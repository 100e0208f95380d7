"""Model Quantizer: quantize, check and publish Hugging Face models from one manifest."""

__version__ = "1.0.0"
