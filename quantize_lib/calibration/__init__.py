"""Text for calibration and evaluation: collected on the host, turned into token ids where the model is."""
