"""What a model is, from its config and safetensors headers alone."""
