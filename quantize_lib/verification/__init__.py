"""Checks a published checkpoint as anybody can: files, report, fingerprint and signature.

A checkpoint is looked at where it lies, in a folder or on the Hub, and nothing of it is trusted: it may have
been made by somebody else.
"""
