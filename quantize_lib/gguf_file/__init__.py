"""GGUF, the file of llama.cpp: types of tensors and which gets which, metadata, vocabulary, the file."""
