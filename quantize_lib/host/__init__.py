"""The host: plans, downloads, judges, writes cards and publishes; it never imports torch."""
