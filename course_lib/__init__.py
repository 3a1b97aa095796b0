"""Fine-Tuning & LoRA, measured: the library behind the lessons and the command ``course``."""

__version__ = "0.1.0"
