"""The Hugging Face Hub: clients, credentials, patience, errors, listings."""
