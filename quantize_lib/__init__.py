"""Model Quantizer: quantize, check and publish Hugging Face models from one manifest."""

__version__ = "0.1.0"
