"""GGUF, the file of llama.cpp: types of tensors, which tensor gets which, metadata, vocabulary, the file itself.

Nothing here imports torch before it is used, and nothing the package `gguf`.
"""
