"""Training data: rows of every common form, checked as a whole before any training."""
