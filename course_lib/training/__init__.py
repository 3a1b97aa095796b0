"""Training: pretraining wren, fine-tuning through TRL, runs that survive a crash."""
