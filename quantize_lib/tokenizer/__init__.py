"""The tokenizer that a base model's users get: loaded, tried, compared with the model's tables."""
